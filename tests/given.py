"""given(...).when(...).then(...), for any decider that is a `fold` and a `decide`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Decider:
    """The two functions of a domain."""

    fold: Callable[[Sequence[Any]], Any]
    decide: Callable[[Any, Any], Sequence[Any]]

    def given(self, *events: Any) -> Given:
        return Given(self, events)


@dataclass(frozen=True)
class Given:
    decider: Decider
    events: tuple[Any, ...]

    def when(self, command: Any) -> When:
        return When(self, command)


@dataclass(frozen=True)
class When:
    given: Given
    command: Any

    def decided(self) -> list[Any]:
        return list(self.given.decider.decide(self.command, self.given.decider.fold(self.given.events)))

    def then(self, *events: Any) -> None:
        assert self.decided() == list(events)

    def then_refused(self, error: type[Exception]) -> None:
        with pytest.raises(error):
            self.decided()
