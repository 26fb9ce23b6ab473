"""Every published event by its wire name, with what reads and writes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from types import ModuleType

from pydantic import ValidationError

from remote_claude.contracts import auth, billing, gateway, payments, runner, scheduler, users
from remote_claude.contracts.base import Event, canonical_json
from remote_claude.contracts.versions import Conversion


class UnknownEvent(Exception):
    """No event of this name is published by this release: a newer one wrote it. Readers skip it."""

    code = "unknown_event"


class UnknownVersion(Exception):
    """The event is known, this version of it is not: the reader has to be upgraded before it goes on."""

    code = "unknown_event_version"


class UndecodableEvent(Exception):
    """The stored data does not fit its own version: the event is damaged."""

    code = "undecodable_event"


class Registry:
    """Encodes and decodes the published events; what an event log takes as its codec.

    Raises `ValueError` when a version can't be brought to the newest one, or to the one that is written.
    """

    def __init__(self, events: Iterable[type[Event]], conversions: Iterable[Conversion] = ()) -> None:
        self.events = {event.type: event for event in events}
        self._validate: dict[str, Callable[[bytes], Event]] = {}
        """By wire name, of the events met so far: `model_validate_json` takes as long again to get there."""
        self._steps: dict[tuple[str, int, int], Conversion] = {}
        for step in conversions:
            if (
                step.type not in self.events
                or self._steps.setdefault((step.type, step.start, step.end), step) != step
            ):
                raise ValueError(
                    f"{step.type} v{step.start}: a conversion twice, or of an event that isn't published"
                )
        for name, event in self.events.items():
            self._path(name, 1, event.version)
            self._path(name, event.version, event.written or event.version)

    @classmethod
    def of(cls, *modules: ModuleType) -> Registry:
        """Every event and every conversion that the modules define."""
        values = [value for module in modules for value in vars(module).values()]
        events = [v for v in values if isinstance(v, type) and issubclass(v, Event) and "version" in vars(v)]
        return cls(events, [v for v in values if isinstance(v, Conversion)])

    def encode(self, event: Event) -> tuple[str, int, bytes]:
        """Return (wire name, version, canonical JSON)."""
        if event.written is None:
            return event.type, event.version, event.to_json()
        data = event.model_dump(mode="json")
        for step in self._path(event.type, event.version, event.written):
            data = step(data)
        return event.type, event.written, canonical_json(data)

    def decode(self, type: str, version: int, data: bytes) -> Event:
        """Return the event in its newest version. Raises `UnknownEvent`, `UnknownVersion`, `UndecodableEvent`."""
        model = self.events.get(type)
        if model is None:
            raise UnknownEvent(type)
        if version > model.version:
            raise UnknownVersion(f"{type} v{version}: this release reads up to v{model.version}")
        if version < 1:
            raise UndecodableEvent(f"{type} v{version}: versions begin at 1")
        try:
            if version < model.version:
                data = self._upcast(model, version, data)
            validate = self._validate.get(type)
            if validate is None:
                model.model_rebuild()  # `defer_build`
                validate = self._validate[type] = model.__pydantic_validator__.validate_json
            event = validate(data)
        except ValidationError as error:
            raise UndecodableEvent(f"{type} v{version}: {error.error_count()} fields do not fit") from error
        return event

    def _upcast(self, model: type[Event], version: int, data: bytes) -> bytes:
        try:
            parsed = json.loads(data)
            for step in self._path(model.type, version, model.version):
                parsed = step(parsed)
        except (ValueError, LookupError, TypeError, AttributeError) as error:  # not what that version was
            raise UndecodableEvent(f"{model.type} v{version}: {error!r}") from error
        return canonical_json(parsed)

    def _path(self, type: str, start: int, end: int) -> list[Conversion]:
        """The steps between two versions."""
        versions = range(start, end, 1 if end > start else -1)
        steps = [self._steps.get((type, v, v + versions.step)) for v in versions]
        if None in steps:
            missing = versions[steps.index(None)]
            raise ValueError(f"{type} v{missing}: no conversion to v{missing + versions.step}")
        return [step for step in steps if step is not None]


REGISTRY = Registry.of(auth, users, gateway, scheduler, runner, billing, payments)

EVENTS: dict[str, type[Event]] = REGISTRY.events
