"""Upcasters bring every version to the newest, and a registry that can't is refused."""

import json

import pytest

from evolving import (
    BETWEEN,
    FIRST,
    SECOND,
    STEPS,
    THIRD,
    ParcelWeighed,
    ParcelWeighedCautiously,
    ParcelWeighedV1,
    ParcelWeighedV2,
)
from remote_claude.contracts import UndecodableEvent, UnknownVersion
from remote_claude.contracts.registry import Registry

NEWEST = ParcelWeighed(parcel="p1", kind="box", grams=700)


@pytest.mark.parametrize(
    "written",
    [
        FIRST.encode(ParcelWeighedV1(parcel="p1", weight="700")),
        SECOND.encode(ParcelWeighedV2(parcel="p1", grams=700)),
        THIRD.encode(NEWEST),
    ],
    ids=["v1", "v2", "v3"],
)
def test_a_reader_sees_the_newest_model_of_any_version(written: tuple[str, int, bytes]) -> None:
    assert THIRD.decode(*written) == NEWEST


def test_a_release_can_write_a_version_that_older_ones_read() -> None:
    written = BETWEEN.encode(ParcelWeighedCautiously(parcel="p1", kind="box", grams=700))
    assert written == SECOND.encode(ParcelWeighedV2(parcel="p1", grams=700))
    assert THIRD.decode(*written) == NEWEST


def test_a_version_from_the_future_is_unknown_and_one_from_nowhere_is_damaged() -> None:
    with pytest.raises(UnknownVersion, match="reads up to v2"):
        SECOND.decode(*THIRD.encode(NEWEST))
    with pytest.raises(UndecodableEvent):
        THIRD.decode("ParcelWeighed", 0, b"{}")


@pytest.mark.parametrize("data", [b"{}", b"[]", b'"x"', b"{", b'{"parcel": "p1", "weight": "much"}', b"\xff"])
def test_what_an_upcaster_can_make_nothing_of_is_damaged(data: bytes) -> None:
    with pytest.raises(UndecodableEvent):
        THIRD.decode("ParcelWeighed", 1, data)


def test_an_upcasted_event_is_held_against_the_newest_model() -> None:
    with pytest.raises(UndecodableEvent, match="1 fields do not fit"):
        THIRD.decode("ParcelWeighed", 2, json.dumps({"parcel": "p1", "grams": "light"}).encode())


def test_a_registry_with_a_gap_in_its_versions_is_refused() -> None:
    with pytest.raises(ValueError, match="ParcelWeighed v1: no conversion to v2"):
        Registry([ParcelWeighed], STEPS[1:])
    with pytest.raises(ValueError, match="ParcelWeighed v3: no conversion to v2"):
        Registry([ParcelWeighedCautiously], STEPS)
    with pytest.raises(ValueError, match="ParcelWeighed v1: a conversion"):
        Registry([], STEPS)
