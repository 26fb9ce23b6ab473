"""Every published event by its wire name, with what reads and writes it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from pydantic import ValidationError

from remote_claude.contracts import auth, billing, gateway, runner, scheduler, users
from remote_claude.contracts.base import Event


class UnknownEvent(Exception):
    """No event of this name is published by this release: a newer one wrote it. Readers skip it."""

    code = "unknown_event"


class UnknownVersion(Exception):
    """The event is known, this version of it is not: the reader has to be upgraded before it goes on."""

    code = "unknown_event_version"


class UndecodableEvent(Exception):
    """The stored data does not fit its own version: the event is damaged."""

    code = "undecodable_event"


def _published(*modules: Any) -> Iterator[type[Event]]:
    for value in chain.from_iterable(vars(module).values() for module in modules):
        if isinstance(value, type) and issubclass(value, Event) and "version" in vars(value):
            yield value


EVENTS: dict[str, type[Event]] = {
    event.type: event for event in _published(auth, users, gateway, scheduler, runner, billing)
}


class Registry:
    """Encodes and decodes the published events; what an event log takes as its codec."""

    def encode(self, event: Event) -> tuple[str, int, bytes]:
        """Return (wire name, version, canonical JSON)."""
        return event.type, event.version, event.to_json()

    def decode(self, type: str, version: int, data: bytes) -> Event:
        """Return the event in its newest version. Raises `UnknownEvent`, `UnknownVersion`, `UndecodableEvent`."""
        model = EVENTS.get(type)
        if model is None:
            raise UnknownEvent(type)
        if version != model.version:
            raise UnknownVersion(f"{type} v{version}: this release reads up to v{model.version}")
        try:
            return model.model_validate_json(data)
        except ValidationError as error:
            raise UndecodableEvent(f"{type} v{version}: {error.error_count()} fields do not fit") from error


REGISTRY = Registry()
