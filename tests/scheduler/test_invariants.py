"""Whatever comes in whatever order: what always holds of a log with a scheduler behind it."""

from collections import Counter
from typing import Any

from hypothesis import given as random
from hypothesis import settings
from hypothesis import strategies as st

from remote_claude.contracts.billing import Entitlements
from remote_claude.contracts.runner import AttemptFinished, TaskStarted
from remote_claude.contracts.scheduler import (
    Admission,
    TaskAdmitted,
    TaskAssigned,
    TaskRejected,
    TaskRequeued,
    TerminalEvent,
)
from remote_claude.eventsourcing.events import RecordedEvent, timestamp
from remote_claude.runtime.admin.verification import Checker
from remote_claude.scheduler.domain.evolve import evolve
from remote_claude.scheduler.domain.state import SchedulerState
from remote_claude.scheduler.domain.tasks import Assigned, Running
from remote_claude.scheduler.projections.snapshots import SNAPSHOT, Snapshot
from scheduling import NOW, World, cancelled, declined, drained, finished, joined, on_plan, started, submitted

ORGS = ("org_a", "org_b")
RUNNERS = ("run_1", "run_2")
QUOTA = 3
PLAN = Entitlements(
    executions_per_month=QUOTA, vcpu_millis=1000, memory_mib=1024, duration_s=60, concurrency=2
)

number = st.integers(0, 7)
causes = st.one_of(
    st.tuples(st.just("submit"), number),
    st.tuples(st.just("cancel"), number),
    st.tuples(st.just("start"), number),
    st.tuples(st.just("finish"), number, st.sampled_from(["succeeded", "failed", "lost", "timed_out"])),
    st.tuples(st.just("no-op"), number),
    st.tuples(st.just("decline"), number),
    st.tuples(st.just("late"), number, st.sampled_from(["succeeded", "lost"])),
    st.tuples(st.just("late start"), number),
    st.tuples(st.just("join"), st.sampled_from(RUNNERS), st.integers(0, 3)),
    st.tuples(st.just("drain"), st.sampled_from(RUNNERS)),
    st.tuples(st.just("expire"), number, st.sampled_from(["lost", "timed_out"])),
    st.tuples(st.just("plan"), st.sampled_from(ORGS)),
    st.tuples(st.just("decide"), st.sampled_from([(), ("org_a",), ("org_b",)])),
)


class Play:
    """Turns random steps into a log that could be: runners speak of what they were assigned, now or long ago."""

    def __init__(self) -> None:
        self.world = World()
        self.expired: list[Any] = []
        self.submitted: set[int] = set()
        self.started: set[tuple[str, int]] = set()

    def step(self, step: Any) -> None:
        match step:
            case ("submit", n):
                if n in self.submitted:
                    return  # the gateway says it once
                self.submitted.add(n)
                self.world.record(submitted(f"task_{n}", ORGS[n % 2], max_attempts=2, priority=n % 3))
            case ("cancel", n):
                self.world.record(cancelled(f"task_{n}", ORGS[n % 2]))
            case ("join", runner, slots):
                self.world.record(joined(runner, slots))
            case ("drain", runner):
                self.world.record(drained(runner))
            case ("plan", org):
                self.world.record(on_plan("free", PLAN, org))
            case ("decide", busy):
                self.decide(busy)
            case ("late", n, outcome):
                if of := self.given_out(n):
                    self.world.record(finished(outcome, **of))
            case ("late start", n):
                if of := self.given_out(n):
                    self.start(of)
            case (said, n, *outcome):
                self.speak(said, f"task_{n}", ORGS[n % 2], *outcome)

    def given_out(self, n: int) -> dict[str, Any]:
        """The n-th attempt that a runner has been given, whatever has become of it."""
        attempts = [e.event for e in self.world.history if e.type == "TaskAssigned"]
        keys = ("task", "org", "attempt", "runner")
        return {k: getattr(attempts[n], k) for k in keys} if n < len(attempts) else {}

    def speak(self, said: str, task: str, org: str, outcome: Any = None) -> None:
        attempt = self.world.state.task(org, task)
        if not isinstance(attempt, Assigned | Running):
            return
        of: dict[str, Any] = {"task": task, "org": org, "attempt": attempt.attempt, "runner": attempt.runner}
        match said:
            case "start":
                self.start(of)
            case "finish":
                self.world.record(finished(outcome, **of))
            case "no-op":
                if (task, attempt.attempt) not in self.started:
                    self.started.add((task, attempt.attempt))
                    self.world.record(finished(started_at=timestamp(NOW), **of))
            case "decline":
                self.world.record(declined(**of))
            case "expire":
                self.expired.append(self.world.expired(outcome, task=task, org=org))

    def start(self, of: dict[str, Any]) -> None:
        attempt = of["task"], of["attempt"]
        if attempt not in self.started:  # its runner says it once
            self.started.add(attempt)
            self.world.record(started(**of))

    def decide(self, busy: tuple[str, ...] = ()) -> None:
        expired, self.expired = self.expired, []
        self.world.when(expired=expired, busy=busy).recorded()


def played(steps: list[Any]) -> World:
    play = Play()
    for step in steps:
        play.step(step)
    play.decide()
    return play.world


plays = st.lists(causes, max_size=80).map(played)


submitted_plays = st.lists(causes, max_size=80).map(
    lambda steps: played([*(("submit", n) for n in range(8)), *steps])
)
"""Nobody speaks of a task that there is not."""


@random(plays)
@settings(max_examples=200, deadline=None)
def test_a_task_ends_once_and_nothing_is_decided_about_it_afterwards(world: World) -> None:
    ended: set[str] = set()
    for recorded in world.history:
        if recorded.stream.startswith("ev.scheduler."):
            assert recorded.subject not in ended
            if isinstance(recorded.event, TerminalEvent | TaskRejected):
                ended.add(recorded.event.task)


@random(plays)
@settings(max_examples=200, deadline=None)
def test_quota_is_not_exceeded_at_any_prefix(world: World) -> None:
    used: Counter[str] = Counter()
    began: set[str] = set()
    admitted: set[str] = set()
    for recorded in world.history:
        match recorded.event:
            case TaskAdmitted(org=org, task=task) | TaskAssigned(org=org, task=task, admission=Admission()):
                used[org] += 1
                admitted.add(task)
            case TaskStarted(task=task) | AttemptFinished(task=task, started_at=str()):
                began.add(task)
            case TerminalEvent(org=org, task=task, settlements=settlements) if task in admitted:
                [execution] = settlements
                assert execution.settled <= (task in began)
                used[org] -= execution.released
            case _:
                pass
        assert all(n <= QUOTA for n in used.values())


@random(submitted_plays)
@settings(max_examples=200, deadline=None)
def test_the_independent_reader_finds_nothing_wrong(world: World) -> None:
    checker = Checker()
    for recorded in world.history:
        checker.check(recorded)
    assert checker.report.violations == []


@random(plays)
@settings(max_examples=200, deadline=None)
def test_attempt_numbers_rise(world: World) -> None:
    last: Counter[str] = Counter()
    for recorded in world.history:
        match recorded.event:
            case TaskAssigned(task=task, attempt=attempt):
                assert attempt == last[task] + 1
                last[task] = attempt
            case TaskRequeued(task=task, attempt=attempt):
                assert attempt == last[task] + 1
            case _:
                pass


@random(plays)
@settings(max_examples=200, deadline=None)
def test_slots_and_concurrency_are_never_oversubscribed(world: World) -> None:
    state = SchedulerState()
    for recorded in world.history:
        evolve(state, recorded)
        if isinstance(assigned := recorded.event, TaskAssigned):
            runner = state.runners[assigned.runner]
            assert len(runner.held) <= runner.slots
            assert state.organisations[assigned.org].attempts <= 2


@random(plays)
@settings(max_examples=200, deadline=None)
def test_indexes_say_what_the_tasks_say(world: World) -> None:
    state = SchedulerState()
    for recorded in world.history:
        evolve(state, recorded)
    for org in state.organisations.values():
        running = [t for t in org.tasks.values() if isinstance(t, Assigned | Running)]
        assert org.attempts == len(running)
        assert not org.due
        assert all(state.runners[t.runner].held[t.submission.task] == org.id for t in running)
        assert (org.id in state.rotation) == org.wants_slot
    assert sum(len(r.held) for r in state.runners.values()) == sum(
        o.attempts for o in state.organisations.values()
    )


@random(plays)
@settings(max_examples=200, deadline=None)
def test_a_replay_gives_the_live_state(world: World) -> None:
    replayed = SchedulerState()
    for recorded in world.history:
        evolve(replayed, again(recorded))
    assert replayed == world.state


@random(plays, st.integers(0, 200))
@settings(max_examples=200, deadline=None)
def test_a_snapshot_and_what_came_after_it_give_the_live_state(world: World, n: int) -> None:
    state = SchedulerState()
    for recorded in world.history[:n]:
        evolve(state, recorded)
    restored = SNAPSHOT.validate_json(SNAPSHOT.dump_json(Snapshot.of(state))).state()
    assert restored == state
    assert [list(o.due) for o in restored.organisations.values()] == [
        list(o.due) for o in state.organisations.values()
    ]
    for recorded in world.history[n:]:
        evolve(restored, recorded)
    assert restored == world.state


@random(plays)
@settings(max_examples=100, deadline=None)
def test_everything_is_decided_once_work_is_possible(world: World) -> None:
    for org in ORGS:
        world.record(on_plan("free", PLAN, org))
    while any(organisation.tasks for organisation in world.state.organisations.values()):
        before = len(world.history)
        world.record(joined(slots=4)).when(NOW).recorded()
        for task in list(world.state.occupying()):
            of = {"task": task.submission.task, "org": task.submission.org}
            world.record(finished(attempt=task.attempt, runner=task.runner, **of))
        world.when(NOW).recorded()
        assert len(world.history) > before + 1


def again(recorded: RecordedEvent) -> RecordedEvent:
    """The same event, read again."""
    names = [name for name in RecordedEvent.__slots__ if name not in ("_event", "_headers")]
    return RecordedEvent(**{name.lstrip("_"): getattr(recorded, name) for name in names})
