"""Times and ids of events."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_claude.eventsourcing.events import (
    CAUSATION_NAMESPACE,
    caused_id,
    parse_timestamp,
    stream_id,
    timestamp,
)


@given(st.text(), st.text(), st.integers(0, 9))
def test_a_caused_id_is_the_uuid5_of_its_cause(cause: str, handler: str, n: int) -> None:
    made = caused_id(cause, handler, n)
    assert made == str(uuid5(CAUSATION_NAMESPACE, f"{cause}/{handler}/{n}"))
    assert UUID(made).version == 5


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5, minutes=-30))])))
def test_a_time_is_utc_with_six_decimals_and_comes_back(moment: datetime) -> None:
    if datetime(2, 1, 1, tzinfo=UTC) < moment < datetime(9998, 1, 1, tzinfo=UTC):
        text = timestamp(moment)
        assert len(text) == len("2026-11-22T00:00:00.000000Z")
        assert text.endswith("Z")
        assert parse_timestamp(text) == moment


def test_a_time_without_its_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        timestamp(datetime(2026, 1, 1))  # noqa: DTZ001  # the point


@pytest.mark.parametrize("id", ["", "A", "a b", "a.b", "ü", "*", "a\n"])
def test_what_is_no_subject_token_makes_no_stream(id: str) -> None:
    with pytest.raises(ValueError, match="not a subject token"):
        stream_id("gateway", "org_1", "task", id)
    assert stream_id("gateway", None, "task", "task_a-1") == "ev.gateway._.task.task_a-1"
