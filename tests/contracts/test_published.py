"""A published field never disappears and never changes; the test that says so sees it when it happens."""

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, create_model

from published import GOLDEN, LOCK, SCHEMAS, breaks, golden_files, lost, schema, schema_file
from remote_claude.contracts import EVENTS, Event
from remote_claude.contracts.base import Sealed, Value

EVERY = list(EVENTS.values())


@pytest.mark.parametrize("event", EVERY, ids=lambda e: e.type)
def test_an_event_reads_what_has_been_published(event: type[Event]) -> None:
    published = json.loads(schema_file(event, event.version).read_text())
    assert breaks(published, schema(event)) == [], (
        f"make it {event.type} v{event.version + 1}, with an upcaster"
    )
    assert published == schema(event), "a field was added: make golden"


@pytest.mark.parametrize("event", EVERY, ids=lambda e: e.type)
def test_every_version_has_its_schema_and_its_golden_event(event: type[Event]) -> None:
    for version in range(1, event.version + 1):
        assert schema_file(event, version).is_file()
        assert golden_files(event, version)


def test_no_published_event_has_disappeared() -> None:
    assert {path.name.split(".")[0] for path in [*SCHEMAS.glob("*.json"), *GOLDEN.glob("*.json")]} == set(
        EVENTS
    )


def test_no_golden_event_has_been_changed_or_deleted() -> None:
    assert lost() == []


# Planted: each of these has to be seen


class Part(Value):
    size: int
    unit: Literal["g", "kg"] = "g"


class Weighed(Value):
    parcel: str
    part: Part
    note: Sealed | None = None
    labels: tuple[str, ...] = ()
    tries: int = 1


def changed(model: type[Value], /, *, without: str | None = None, **fields: Any) -> type[Value]:
    """The model with fields taken out, put in or declared otherwise."""
    declared: dict[str, Any] = {n: (f.annotation, f) for n, f in model.model_fields.items() if n != without}
    mutant: type[Value] = create_model(model.__name__, __base__=Value, **declared | fields)
    return mutant


@pytest.mark.parametrize(
    ("mutant", "said"),
    [
        (changed(Weighed, without="parcel"), "parcel disappeared"),
        (changed(Weighed, without="tries"), "tries disappeared"),
        (changed(Weighed, parcel=(int, ...)), "parcel changed: 'string' became 'integer'"),
        (changed(Weighed, note=(Sealed, ...)), "note lost its default"),
        (changed(Weighed, tries=(int, 2)), "tries changed: 1 became 2"),
        (changed(Weighed, tries=(int, ...)), "tries lost its default"),
        (changed(Weighed, tries=(int, Field(1, ge=1))), "tries changed: minimum is new"),
        (changed(Weighed, labels=(tuple[int, ...], ())), "labels changed: 'string' became 'integer'"),
        (changed(Weighed, part=(changed(Part, without="size"), ...)), "part.size disappeared"),
        (changed(Weighed, part=(changed(Part, size=(str, ...)), ...)), "part.size changed: 'integer' became 'string'"),
        (changed(Weighed, part=(changed(Part, unit=(Literal["g", "kg", "t"], "g")), ...)), "part.unit changed"),
        (changed(Weighed, added=(str, ...)), "added is new and has no default"),
        (changed(Weighed, without="parcel", name=(str, "")), "parcel disappeared"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_planted_change_is_named(mutant: type[Value], said: str) -> None:
    assert any(line.startswith(said) for line in breaks(schema(Weighed), schema(mutant)))


def test_a_new_field_with_a_default_breaks_nothing() -> None:
    assert breaks(schema(Weighed), schema(changed(Weighed, added=(str | None, None)))) == []
    part = changed(Part, added=(int, 0))
    assert breaks(schema(Weighed), schema(changed(Weighed, part=(part, ...)))) == []


@pytest.mark.parametrize("event", EVERY, ids=lambda e: e.type)
def test_no_field_of_a_published_event_can_go_or_change_its_type_unseen(event: type[Event]) -> None:
    published = json.loads(schema_file(event, event.version).read_text())
    for field in event.model_fields:
        assert f"{field} disappeared" in breaks(published, schema(changed(event, without=field)))
        other: dict[str, Any] = {field: (frozenset[bytes], frozenset())}
        assert breaks(published, schema(changed(event, **other)))


def test_a_changed_a_deleted_and_an_unlocked_golden_event_are_named(tmp_path: Path) -> None:
    folder, lock = tmp_path / "golden", tmp_path / "lock"
    shutil.copytree(GOLDEN, folder)
    shutil.copy(LOCK, lock)
    assert lost(folder, lock) == []
    (folder / "TaskStarted.v1.json").write_bytes(b"{}\n")
    (folder / "TaskFailed.v1.json").unlink()
    (folder / "TaskPraised.v1.json").write_bytes(b"{}\n")
    assert lost(folder, lock) == [
        "TaskFailed.v1.json is gone",
        "TaskStarted.v1.json has changed",
        "TaskPraised.v1.json is not locked: make golden",
    ]
