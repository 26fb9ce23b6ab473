"""What a runner says of an attempt, over a log that leaves it in doubt."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from event_examples import WINDOW
from remote_claude.contracts import REGISTRY
from remote_claude.contracts.runner import Cumulative
from remote_claude.eventsourcing.events import NewEvent
from remote_claude.eventsourcing.log import LogUnavailable
from remote_claude.eventsourcing.memory import InMemoryEventLog
from remote_claude.runner.domain.attempt import AttemptId, Decline, Finish, Measured, Sample, Start
from remote_claude.runner.handlers import AttemptLog, Superseded

ATTEMPT = AttemptId("org_a", "task_1", 1, "run_1")
STREAM = "ev.runner.org_a.attempt.task_1-1"
LOST = Finish(outcome="lost", reason="runner_failed")


def measured(vcpu_ms: int) -> Measured:
    return Measured(cumulative=Cumulative(vcpu_ms=vcpu_ms), **WINDOW)


class SilentLog(InMemoryEventLog):
    """While it is `silent`, no append is answered; what is sent has `landed`, or not."""

    silent = False
    landed = True

    async def append(self, stream: str, events: Sequence[NewEvent], *, expected_position: int) -> int:
        if not self.silent:
            return await super().append(stream, events, expected_position=expected_position)
        if self.landed:
            await super().append(stream, events, expected_position=expected_position)
        raise LogUnavailable("no answer")


@pytest.fixture(params=[True, False], ids=["landed", "not landed"])
def log(request: pytest.FixtureRequest) -> SilentLog:
    log = SilentLog(REGISTRY)
    log.landed = request.param
    return log


def attempt_log(log: SilentLog) -> AttemptLog:
    return AttemptLog(log, lambda: datetime(2026, 11, 24, tzinfo=UTC), ATTEMPT, "cause")


async def unanswered(log: SilentLog, mine: AttemptLog, *commands: Start | Sample | Finish | Decline) -> None:
    log.silent = True
    with pytest.raises(LogUnavailable):
        await mine.record(*commands)
    log.silent = False


async def said(log: SilentLog) -> list[str]:
    return [recorded.type for recorded in await log.read_stream(STREAM)]


async def test_a_start_without_an_answer_is_no_end(log: SilentLog) -> None:
    mine = attempt_log(log)
    await unanswered(log, mine, Start())
    await mine.record(LOST)
    assert await said(log) == ["TaskStarted", "AttemptFinished"]


async def test_a_sample_without_an_answer_is_counted_once(log: SilentLog) -> None:
    mine = attempt_log(log)
    await mine.record(Start())
    await unanswered(log, mine, Sample(measured(1)))
    await mine.record(Finish(outcome="succeeded", used=measured(2)))
    _, sample, end = [recorded.event for recorded in await log.read_stream(STREAM)]
    assert [(s.sequence, s.cumulative.vcpu_ms) for s in (sample, end.usage)] == [(1, 1), (2, 2)]


async def test_the_end_that_was_sent_first_stands(log: SilentLog) -> None:
    mine = attempt_log(log)
    await mine.record(Start())
    await unanswered(log, mine, Finish(outcome="succeeded"))
    await mine.record(LOST)
    assert [r.event.outcome for r in (await log.read_stream(STREAM))[1:]] == ["succeeded"]


async def test_the_next_process_learns_of_an_append_that_lands_late() -> None:
    log = SilentLog(REGISTRY)
    before, after = attempt_log(log), attempt_log(log)
    await after.load()
    await before.record(Start())  # sent by a process that has ended, stored only now
    with pytest.raises(Superseded):
        await after.record(Decline("runner_restarted"))
