"""Published events keep their shape for ever."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_examples import EXAMPLES, OTHER_SHAPES
from published import GOLDEN, golden_files
from remote_claude.contracts import (
    EVENTS,
    REGISTRY,
    Event,
    Sealed,
    UndecodableEvent,
    UnknownEvent,
    UnknownVersion,
    canonical_json,
)
from remote_claude.contracts.base import Value
from remote_claude.contracts.runner import Cumulative

SEALED_FIELDS = {"prompt", "url", "ref", "labels", "name", "email", "secret"}


def test_every_published_event_has_an_example() -> None:
    assert {e.type for e in EXAMPLES} == set(EVENTS)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda e: e.type)
def test_an_event_is_written_as_its_golden_file_says(event: Event) -> None:
    newest = golden_files(type(event), event.version)[-1]
    assert event.to_json() == newest.read_bytes().rstrip(b"\n"), "was a field added? make golden"


@pytest.mark.parametrize("event", [*EXAMPLES, *OTHER_SHAPES], ids=lambda e: e.type)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    assert REGISTRY.decode(*REGISTRY.encode(event)) == event


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.json")), ids=lambda f: f.stem)
def test_every_golden_event_can_still_be_read_and_loses_nothing(file: Path) -> None:
    name, version = file.name.split(".")[:2]
    data = file.read_bytes()
    event = REGISTRY.decode(name, int(version[1:]), data)
    assert event.type == name
    if event.version == int(version[1:]):
        assert holds(json.loads(event.to_json()), json.loads(data))


def holds(read: Any, written: Any) -> bool:
    """Whether everything that was written came back."""
    if isinstance(written, dict):
        return all(name in read and holds(read[name], value) for name, value in written.items())
    if isinstance(written, list):
        return len(read) == len(written) and all(map(holds, read, written))
    return bool(read == written)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda e: e.type)
def test_a_field_that_a_newer_release_added_is_passed_over(event: Event) -> None:
    data = json.loads(event.to_json()) | {"added_later": 1}
    assert REGISTRY.decode(event.type, event.version, json.dumps(data).encode()) == event


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda e: e.type)
def test_personal_text_is_never_a_plain_string(event: Event) -> None:
    def walk(model: object) -> None:
        for name, value in model:  # type: ignore[attr-defined]
            if name in SEALED_FIELDS:
                assert isinstance(value, Sealed), f"{event.type}.{name}"
            elif isinstance(value, Value):
                walk(value)

    walk(event)


def test_an_unknown_event_a_newer_version_and_a_damaged_one_are_told_apart() -> None:
    with pytest.raises(UnknownEvent):
        REGISTRY.decode("TaskTeleported", 1, b"{}")
    with pytest.raises(UnknownVersion):
        REGISTRY.decode("TaskStarted", 99, b"{}")
    with pytest.raises(UndecodableEvent):
        REGISTRY.decode("TaskStarted", 1, b'{"task": 1}')
    with pytest.raises(UndecodableEvent):
        REGISTRY.decode("TaskStarted", 1, b"not json")


plain = st.recursive(
    st.none() | st.booleans() | st.integers(min_value=-(2**63), max_value=2**63) | st.text(),
    lambda part: st.lists(part) | st.dictionaries(st.text(st.characters(max_codepoint=127)), part),
)


@given(plain)
def test_canonical_json_is_what_the_standard_says(value: Any) -> None:
    expected = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert canonical_json(value) == expected.encode()


@given(st.integers(min_value=0, max_value=2**80))
def test_a_quantity_is_exact_at_any_size(n: int) -> None:
    written = Cumulative(vcpu_ms=n).model_dump_json()
    assert Cumulative.model_validate_json(written).vcpu_ms == n
    assert isinstance(json.loads(written)["vcpu_ms"], str) == (n > 2**53)
