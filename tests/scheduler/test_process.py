"""A scheduler process over a log: in memory, and over a real broker."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import nats
import pytest

from projecting import eventually
from remote_claude.contracts import EVENTS, REGISTRY, UnknownVersion
from remote_claude.contracts.leases import HeldAttempt, LeaseRequest
from remote_claude.contracts.scheduler import (
    RunnerLost,
    TaskAdmitted,
    TaskAssigned,
    TaskFailed,
    TaskRejected,
    TaskRequeued,
    TaskSucceeded,
    TaskTimedOut,
    TerminalEvent,
)
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.jetstream.streams import ensure_streams
from remote_claude.eventsourcing.log import ConcurrencyConflict, EventLog
from remote_claude.eventsourcing.memory import InMemoryEventLog
from remote_claude.eventsourcing.tail import Tail
from remote_claude.scheduler.domain.evolve import evolve
from remote_claude.scheduler.domain.known_leases import Leases
from remote_claude.scheduler.domain.state import SchedulerState
from remote_claude.scheduler.handlers import Leader
from remote_claude.scheduler.leadership import LeadershipLost, Uncontested, Watch
from remote_claude.scheduler.process import Scheduler
from remote_claude.scheduler.projections.snapshots import NoSnapshots
from remote_claude.scheduler.settings import SchedulerSettings
from scheduler_process import (
    Process,
    SimulatedRunner,
    admissions,
    admitted,
    count,
    decisions,
    ended_once,
    happened,
    history,
    now,
    say,
    say_at_once,
)
from scheduling import (
    FREE,
    ORG,
    UNLIMITED,
    Damaged,
    Newer,
    cancelled,
    declined,
    finished,
    joined,
    on_plan,
    started,
    submitted,
)
from servers import Broker

QUICK = SchedulerSettings(lease_s=1, grace_s=0, tick_s=0.05)
TERMINAL = TerminalEvent | TaskRejected


@pytest.fixture(params=["memory", "jetstream"])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[EventLog]:
    if request.param == "memory":
        yield InMemoryEventLog(REGISTRY)
        return
    broker: Broker = request.getfixturevalue("fresh_nats")
    client = await nats.connect(**broker.options)
    await ensure_streams(client)
    async with JetStreamEventLog(client, REGISTRY) as jetstream:
        yield jetstream
    await client.close()


@pytest.fixture
async def tail(log: EventLog) -> AsyncIterator[Tail]:
    async with Tail(log) as tail:
        yield tail


async def test_a_task_goes_from_submission_to_its_end(log: EventLog, tail: Tail) -> None:
    async with Process(log).running(), SimulatedRunner(log).running():
        await say(log, on_plan())
        await say(log, submitted())
        decided = await happened(tail, log, count(TaskSucceeded, 1))
    assert [type(event) for event in decided] == [TaskAssigned, TaskSucceeded]


async def test_1000_submissions_at_once_against_ten_left_admit_exactly_ten(log: EventLog, tail: Tail) -> None:
    await say(log, on_plan("free", FREE))
    async with Process(log).running(), SimulatedRunner(log).running() as runner:
        await say_at_once(log, (submitted(f"before_{n}") for n in range(90)))
        await happened(tail, log, count(TERMINAL, 90))
        await say_at_once(log, (submitted(f"task_{n}") for n in range(1000)))
        decided = await happened(tail, log, count(TERMINAL, 1090))
    kinds = Counter(type(event) for event in decided)
    assert len(admitted(decided)) == kinds[TaskAssigned] == kinds[TaskSucceeded] == 100
    assert kinds[TaskRejected] == 990
    assert runner.most <= runner.slots


async def test_what_waits_for_an_organisation_is_decided_in_one_append(log: EventLog, tail: Tail) -> None:
    await say(log, on_plan())
    await say_at_once(log, (submitted(f"task_{n}") for n in range(100)))
    before = log.stats.appends  # type: ignore[attr-defined]
    async with Process(log).running():
        await happened(tail, log, count(TaskAdmitted, 100))
    assert log.stats.appends == before + 1  # type: ignore[attr-defined]


async def test_two_schedulers_that_both_lead_decide_everything_once(log: EventLog, tail: Tail) -> None:
    orgs = ["org_a", "org_b"]
    await say_at_once(log, (on_plan("free", FREE, org) for org in orgs))
    async with Process(log).running(), Process(log).running(), SimulatedRunner(log, slots=8).running():
        await say_at_once(log, (submitted(f"task_{org}_{n}", org) for org in orgs for n in range(110)))
        decided = await happened(tail, log, count(TERMINAL, 220))
    assert ended_once(decided, TERMINAL)
    kinds = Counter(type(event) for event in decided)
    assert (len(admitted(decided)), kinds[TaskRejected], kinds[TaskSucceeded]) == (200, 20, 200)
    assert len({r.event_id for r in await history(log)}) == len(await history(log))


async def test_a_decision_is_guarded_by_what_it_was_made_on() -> None:
    log, state = InMemoryEventLog(REGISTRY), SchedulerState()
    await say(log, on_plan())
    await say(log, submitted())
    for recorded in await history(log):
        evolve(state, recorded)
    leader = Leader(log, state, Leases(10, 10, 0.0), now, 10, Counter())
    term = asyncio.create_task(leader.run())
    await asyncio.sleep(0)  # it has decided, and not sent yet
    await say(log, TaskRejected(org=ORG, task="task_1", code="no_plan", detail="another one's word"))
    evolve(state, (await history(log))[-1])
    with pytest.RaisesGroup(ConcurrencyConflict):
        await term


class Lost(Uncontested):
    """An election whose term is over once `lost` is set."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    @asynccontextmanager
    async def term(self) -> AsyncGenerator[Watch, None]:
        async def watch() -> None:
            await self.lost.wait()
            raise LeadershipLost("another one leads")

        yield watch


class Terms(Uncontested):
    """An election that counts its terms."""

    count = 0

    @asynccontextmanager
    async def term(self) -> AsyncGenerator[Watch, None]:
        self.count += 1
        async with super().term() as watch:
            yield watch


async def test_a_leader_without_renewals_of_known_runners_stands_down() -> None:
    log, election = InMemoryEventLog(REGISTRY), Terms()
    await say(log, joined())
    async with Process(log, QUICK, election).running():
        await eventually(lambda: election.count > 1)


async def test_a_leader_with_renewals_of_one_runner_keeps_the_lead(log: EventLog, tail: Tail) -> None:
    election = Terms()
    await say(log, on_plan())
    async with Process(log, QUICK, election).running(), SimulatedRunner(log, outcome=None, slots=1).running():
        await say(log, joined("run_dead"))
        await say(log, submitted())
        await happened(tail, log, count(RunnerLost, 1))  # more than a lease has passed
        assert election.count == 1


@pytest.mark.parametrize("later", range(6))
async def test_a_scheduler_ends_though_its_term_ends_at_the_same_time(later: int) -> None:
    election = Lost()
    async with asyncio.timeout(60), Process(InMemoryEventLog(REGISTRY), election=election).running() as one:
        await eventually(lambda: one.leader is not None)
        election.lost.set()
        for _ in range(later):
            await asyncio.sleep(0)


async def test_a_restart_goes_on_where_the_log_ends(log: EventLog, tail: Tail) -> None:
    await say(log, on_plan("free", FREE))
    async with SimulatedRunner(log, slots=2).running():
        for part in range(3):
            async with Process(log).running():
                await say_at_once(log, (submitted(f"task_{part}_{n}") for n in range(20)))
                await happened(tail, log, admissions(20 * part + 1))
        async with Process(log).running() as last:
            decided = await happened(tail, log, count(TERMINAL, 60))
            await last.fold.reached(await log.last_position())
            live = last.state
    assert ended_once(decided, TERMINAL)
    assert Counter(type(e) for e in decided)[TaskSucceeded] == 60
    replayed = SchedulerState()
    for recorded in await history(log):
        evolve(replayed, recorded)
    assert replayed == live


async def test_a_runner_that_vanishes_is_given_up_and_its_task_fails_in_the_end(
    log: EventLog, tail: Tail
) -> None:
    await say(log, on_plan())
    async with Process(log, QUICK).running():
        await say(log, joined("run_1"))
        await say(log, submitted(max_attempts=2))
        await happened(tail, log, count(RunnerLost, 1))
        await say(log, joined("run_2"))
        decided = await happened(tail, log, count(TaskFailed, 1))
    kinds = [TaskAssigned, RunnerLost, TaskRequeued, TaskAssigned, RunnerLost, TaskFailed]
    assert [type(event) for event in decided] == kinds
    assert decided[1] == RunnerLost(
        task="task_1", org=ORG, attempt=1, runner="run_1", reason="runner_lost", charge=False
    )


async def test_a_runner_that_renews_keeps_its_attempts(log: EventLog, tail: Tail) -> None:
    await say(log, on_plan())
    async with Process(log, QUICK).running():
        slow = SimulatedRunner(log, "run_slow", slots=1, outcome=None)
        async with slow.running():
            await say(log, submitted())
            await happened(tail, log, count(TaskAssigned, 1))
            await say(log, joined("run_dead", slots=1))  # its loss shows that more than a lease has passed
            await say(log, submitted("task_2"))
            decided = await happened(tail, log, count(RunnerLost, 1))
    assert {event.task for event in decided if isinstance(event, RunnerLost)} == {"task_2"}
    assert not slow.revoked


async def test_an_attempt_that_its_runner_does_not_know_of_is_given_up(log: EventLog, tail: Tail) -> None:
    await say(log, on_plan())
    async with Process(log, QUICK).running(), SimulatedRunner(log, outcome=None, keeps=False).running():
        await say(log, submitted())
        decided = await happened(tail, log, count(RunnerLost, 1))
    [lost] = [event for event in decided if isinstance(event, RunnerLost)]
    assert (lost.runner, lost.reason) == ("run_1", "attempt_lost")


async def test_an_attempt_long_after_its_deadline_is_timed_out(log: EventLog, tail: Tail) -> None:
    await say(log, on_plan())
    async with Process(log, QUICK).running():
        stuck = SimulatedRunner(log, outcome=None)
        async with stuck.running():
            await say(log, submitted(timeout_s=1))
            decided = await happened(tail, log, count(TERMINAL, 1))
    assert isinstance(decided[-1], TaskTimedOut)


async def test_what_is_no_longer_a_runners_is_revoked(log: EventLog, tail: Tail) -> None:
    await say(log, on_plan())
    async with Process(log).running() as scheduler:
        await say(log, joined())
        await say(log, submitted())
        await happened(tail, log, count(TaskAssigned, 1))
        current, older = (HeldAttempt(org=ORG, task="task_1", attempt=n) for n in (1, 0))
        unknown = HeldAttempt(org=ORG, task="task_9", attempt=1)
        request = LeaseRequest(runner="run_1", attempts=(current, older, unknown))
        answer = await scheduler.requests.renew(request)
        assert answer is not None
        assert answer.known
        assert answer.revoked == (older, unknown)
        another = await scheduler.requests.renew(LeaseRequest(runner="run_9", attempts=(current,)))
        assert another is not None
        assert not another.known
        assert another.revoked == (current,)


async def test_a_runner_that_declines_is_left_alone_for_a_while(log: EventLog, tail: Tail) -> None:
    await say(log, on_plan())
    async with Process(log).running(), Tail(log):
        await say(log, joined())
        await say(log, submitted())
        await happened(tail, log, count(TaskAssigned, 1))
        await say(log, declined())
        decided = await happened(tail, log, count(TaskAssigned, 2))
    assert [type(e) for e in decided[-2:]] == [TaskRequeued, TaskAssigned]
    assert len(decided) == 3


async def test_a_cancellation_and_the_end_of_an_attempt_end_the_task_once(log: EventLog, tail: Tail) -> None:
    await say(log, on_plan())
    async with Process(log).running():
        await say(log, joined(slots=20))
        await say_at_once(log, (submitted(f"task_{n}") for n in range(20)))
        await happened(tail, log, count(TaskAssigned, 20))
        tasks = [f"task_{n}" for n in range(20)]
        await say_at_once(log, (started(task) for task in tasks))
        await say_at_once(log, [e for t in tasks for e in (cancelled(t), finished(task=t))])
        decided = await happened(tail, log, count(TERMINAL, 20))
    assert ended_once(decided, TERMINAL)


async def test_many_queued_tasks_of_one_organisation_do_not_hold_up_another(
    log: EventLog, tail: Tail
) -> None:
    await say(log, on_plan(allowed=UNLIMITED))
    await say(log, on_plan(org="org_b"))
    async with Process(log).running(), SimulatedRunner(log, slots=1).running():
        await say_at_once(log, (submitted(f"task_{n}") for n in range(300)))
        await say(log, submitted("task_b", "org_b"))
        decided = await happened(
            tail, log, lambda seen: any(e.task == "task_b" and isinstance(e, TERMINAL) for e in seen)
        )
    ends = [event.task for event in decided if isinstance(event, TERMINAL)]
    assert "task_b" in ends
    assert len(ends) < len(admitted(decided))


async def test_status_and_readiness_say_what_is(log: EventLog, tail: Tail) -> None:
    process = Process(log)
    await say(log, on_plan())
    async with process.running() as scheduler:
        assert scheduler.ready() == "the scheduler does not read the log"
        await say(log, joined(slots=1))
        await say_at_once(log, (submitted(f"task_{n}") for n in range(3)))
        await happened(tail, log, count(TaskAssigned, 1))
        await happened(tail, log, admissions(3))
        await scheduler.fold.reached(await log.last_position())
        assert scheduler.ready() is None
        shown = {"leader": True, "queued": 2, "running": 1, "runners": 1, "unreadable_events": 0}
        assert scheduler.status() == shown | {
            "position": await log.last_position(),
            "plans_without_runner": [],
        }


async def test_decisions_are_not_made_before_the_log_is_read_to_its_end(log: EventLog) -> None:
    await say(log, on_plan())
    await say(log, submitted())
    await say(log, cancelled())
    async with Process(log).running() as scheduler, Tail(log) as tail:
        decided = await happened(tail, log, count(TERMINAL, 1))
        assert scheduler.leader is not None
    assert [type(event).__name__ for event in decided] == ["TaskCancelled"]
    assert await decisions(log) == decided


async def test_an_unreadable_event_delays_no_other() -> None:
    log = InMemoryEventLog(Damaged(EVENTS.values()))
    await say(log, on_plan())
    await say(log, submitted(agent="damaged"))
    async with Process(log).running() as scheduler, Tail(log) as tail:
        await say(log, submitted("task_2"))
        decided = await happened(tail, log, count(TaskAdmitted, 1))
        assert scheduler.fold.unreadable == 1
    assert [event.task for event in decided] == ["task_2"]


async def test_an_event_of_a_newer_version_stops_the_scheduler() -> None:
    log = InMemoryEventLog(Newer(EVENTS.values()))
    await say(log, on_plan())
    async with Tail(log) as tail:
        scheduler = Scheduler(log, tail, now, SchedulerSettings(), Uncontested(), NoSnapshots())
        with pytest.raises(ExceptionGroup) as stopped:
            await asyncio.wait_for(scheduler.run(), 20)
    assert stopped.group_contains(UnknownVersion)
    assert scheduler.ready() == "the scheduler does not read the log"
