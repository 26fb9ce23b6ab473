"""From one version of an event's JSON to the next, so that readers know the newest model only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from remote_claude.contracts.base import Event

Data = dict[str, Any]
"""An event of the log, parsed."""

Step = Callable[[Data], Data]
"""Pure: the same data gives the same data, for ever. It may change what it is given."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """A step from version `start` of an event to a neighbouring one, `end`."""

    type: str
    start: int
    end: int
    step: Step

    def __call__(self, data: Data) -> Data:
        return self.step(data)


def upcasts(event: type[Event], version: int) -> Callable[[Step], Conversion]:
    """Makes a function an upcaster: it reads `version` and gives the next."""
    return lambda step: Conversion(event.type, version, version + 1, step)


def downcasts(event: type[Event], version: int) -> Callable[[Step], Conversion]:
    """The other way, for a release that reads `version` and still writes the one before (`Event.written`)."""
    return lambda step: Conversion(event.type, version, version - 1, step)
