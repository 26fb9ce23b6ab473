"""The log in memory keeps the contract."""

import pytest

from event_log_contract import HEARTBEAT, EventLogContract
from event_logs import JsonCodec
from remote_claude.eventsourcing.memory import InMemoryEventLog, subject_matches


class TestInMemoryEventLog(EventLogContract):
    @pytest.fixture
    def prefix(self) -> str:
        return "ev"

    @pytest.fixture
    def log(self) -> InMemoryEventLog:
        return InMemoryEventLog(JsonCodec(), heartbeat=HEARTBEAT)


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("ev.>", True),
        ("ev.a.*.c", True),
        ("ev.a.b.c.>", False),
        ("ev.*", False),
        ("ev.a.b.c", True),
        ("*.b.>", False),
    ],
)
def test_wildcards_match_as_on_the_broker(pattern: str, matches: bool) -> None:
    assert subject_matches(pattern, "ev.a.b.c") is matches
