"""How the log becomes the state: every event in log order, of every writer. Refuses nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from remote_claude.contracts.billing import PlanChanged, StorageMeasured
from remote_claude.contracts.gateway import TaskCancellationRequested, TaskSubmitted
from remote_claude.contracts.runner import (
    RUNNER_RESTARTED,
    WORKER_LOST,
    AssignmentDeclined,
    AttemptEvent,
    AttemptFinished,
    RunnerDrained,
    RunnerJoined,
    RunnerUndrained,
    TaskStarted,
)
from remote_claude.contracts.scheduler import (
    Admission,
    RunnerLost,
    TaskAdmitted,
    TaskAssigned,
    TaskCancelled,
    TaskFailed,
    TaskRejected,
    TaskRequeued,
    TaskSucceeded,
    TaskTimedOut,
    TerminalEvent,
)
from remote_claude.contracts.users import OrgResumed, OrgSuspended
from remote_claude.eventsourcing.events import RecordedEvent, parse_timestamp
from remote_claude.scheduler.domain import quotas
from remote_claude.scheduler.domain.state import SchedulerState
from remote_claude.scheduler.domain.tasks import (
    Admitted,
    Assigned,
    Attempted,
    Cause,
    Ended,
    LiveTask,
    Queued,
    Running,
    Submission,
    Submitted,
    cancel,
    end,
    transition,
)

OWN = "ev.scheduler."

RUNNER_DRAINED = "runner_drained"
"""Reason of what a runner gave back at its own end: it costs no retry."""


def evolve(state: SchedulerState, recorded: RecordedEvent) -> None:
    """Fold one event into the state, in place. Raises what the decoding raises, and has then changed nothing."""
    if (fold := FOLDS.get(recorded.type)) is not None:
        fold(state, recorded.event, Cause(recorded.event_id, recorded.position, recorded.traceparent))
    pass_over(state, recorded)


def pass_over(state: SchedulerState, recorded: RecordedEvent) -> None:
    """Move on without folding: the guard and the position count every event, readable or not."""
    if recorded.stream.startswith(OWN) and (org := recorded.organisation) is not None:
        state.organisation(org).position = recorded.position
    state.position, state.event_id = recorded.position, recorded.event_id


def decided(task: LiveTask | None, event: Any, by: Cause) -> LiveTask | None:
    """What a decision makes of a task. None is a task that is not alive, or not any more."""
    match event, task:
        case TaskAdmitted(), Submitted():
            return transition(Queued, task, admission=event.admission, attempt=1, entered=by)
        case TaskAssigned(admission=None), Queued():
            return transition(Assigned, task, **_assignment(event, by))
        case TaskAssigned(admission=Admission() as admission), Submitted():
            return transition(Assigned, task, admission=admission, **_assignment(event, by))
        case RunnerLost(), Assigned() | Running() if event.attempt == task.attempt:
            return end(task, "lost", by, reason=event.reason, lost=task.lost + 1)
        case RunnerLost(), Ended() if event.attempt == task.attempt and task.outcome == "lost":
            return replace(task, lost=task.lost + 1)
        case TaskRequeued(), Attempted():
            return transition(Queued, task, attempt=event.attempt, entered=by)
        case ((TaskRejected() | TerminalEvent()), _):
            return None
        case _:
            return task


def _assignment(event: TaskAssigned, by: Cause) -> dict[str, Any]:
    deadline = parse_timestamp(event.deadline)
    return {"attempt": event.attempt, "runner": event.runner, "assigned": by, "deadline": deadline}


def _decision(state: SchedulerState, event: Any, by: Cause) -> None:
    before = state.task(event.org, event.task)
    if before is None:
        return
    after = decided(before, event, by)
    organisation = state.organisation(event.org)
    match event:
        case TaskAdmitted() if isinstance(before, Submitted):
            organisation.reserve(event.admission)
        case TaskAssigned() if isinstance(after, Assigned) and after is not before:
            if event.admission is not None:
                organisation.reserve(event.admission)
            organisation.credit -= 1
            if organisation.credit <= 0:
                organisation.credit = organisation.weight
                state.rotation.pop(organisation.id, None)  # and at its end again, if it is still wants_slot
        # By what has started up to here: a start may have come in while the end was on its way.
        case TerminalEvent() if isinstance(before, Admitted):
            organisation.settle(before.admission, event.settlements)
            if not before.executed:
                organisation.release(before.admission)
        case _:
            pass
    state.replace(before, after)


def _submitted(state: SchedulerState, event: TaskSubmitted, by: Cause) -> None:
    if state.task(event.org, event.task) is None:
        state.replace(None, Submitted(submission=Submission.of(event, by)))


def _cancellation_requested(state: SchedulerState, event: TaskCancellationRequested, by: Cause) -> None:
    if (task := state.task(event.org, event.task)) is not None:
        state.replace(task, cancel(task, by))


def _plan_changed(state: SchedulerState, event: PlanChanged, by: Cause) -> None:
    organisation = state.organisation(event.org)
    organisation.plan, organisation.plan_version = event.plan, event.plan_version
    organisation.anchor, organisation.entitlements = event.anchor, event.entitlements
    organisation.upgrade, organisation.price_book = event.upgrade, event.price_book
    organisation.credit = organisation.weight
    state.reindex(organisation)


def _stored(state: SchedulerState, event: StorageMeasured, by: Cause) -> None:
    state.organisation(event.org).store(event.size)


def _suspended(state: SchedulerState, event: OrgSuspended, by: Cause) -> None:
    state.organisation(event.org).suspended = event.reason


def _resumed(state: SchedulerState, event: OrgResumed, by: Cause) -> None:
    state.organisation(event.org).suspended = None


def _current(state: SchedulerState, event: AttemptEvent) -> Assigned | Running | None:
    """The attempt that a runner speaks of, if it is still that runner's to speak of."""
    task = state.task(event.org, event.task)
    if isinstance(task, Assigned | Running) and (task.attempt, task.runner) == (event.attempt, event.runner):
        return task
    return None


def _started(state: SchedulerState, event: TaskStarted | AttemptFinished, by: Cause) -> None:
    if isinstance(task := _current(state, event), Assigned):
        state.replace(task, transition(Running, task, executed=True))
    elif isinstance(late := state.task(event.org, event.task), Admitted) and _given_up(event, late):
        state.replace(late, replace(late, executed=True))  # it is charged all the same


def _given_up(event: AttemptEvent, task: Admitted) -> bool:
    """Whether a runner speaks of an attempt that the scheduler has written off."""
    if isinstance(task, Ended) and event.attempt == task.attempt:
        return event.runner == task.runner
    return event.attempt < task.attempt


def _finished(state: SchedulerState, event: AttemptFinished, by: Cause) -> None:
    if event.started_at is not None:
        _started(state, event, by)
    if task := _current(state, event):
        used = task.used.plus(quotas.used_by(event, state.organisation(event.org).price_book))
        given_back = event.outcome == "lost" and event.reason != WORKER_LOST
        if given_back and state.runner(event.runner).drained:
            ended = end(task, "given_back", by, reason=RUNNER_DRAINED, used=used)
        else:
            ended = end(task, event.outcome, by, exit_code=event.exit_code, reason=event.reason, used=used)
        state.replace(task, ended)
        _starting(state, event)


def _declined(state: SchedulerState, event: AssignmentDeclined, by: Cause) -> None:
    if task := _current(state, event):
        state.replace(task, end(task, "declined", by, reason=event.reason))
        _starting(state, event)


def _starting(state: SchedulerState, event: AttemptFinished | AssignmentDeclined) -> None:
    """A runner that gives back what its earlier process held has yet to join: what it got now would be lost then."""
    if event.reason == RUNNER_RESTARTED:
        state.runner(event.runner).joined = False


def _joined(state: SchedulerState, event: RunnerJoined, by: Cause) -> None:
    """What the runner was assigned before is lost, or given back if it had drained. What is assigned after is not."""
    runner = state.runner(event.runner)
    held = [state.organisations[org].tasks[task] for task, org in runner.held.items()]
    for task in sorted(
        (t for t in held if isinstance(t, Assigned | Running)), key=lambda t: t.assigned.position
    ):
        cause = by._replace(traceparent=task.assigned.traceparent)  # the task's, not the runner's
        if runner.drained:
            state.replace(task, end(task, "given_back", cause, reason=RUNNER_DRAINED))
        else:
            state.replace(task, end(task, "lost", cause, reason=RUNNER_RESTARTED))
    runner.slots, runner.agents = event.slots, frozenset(event.agents)
    runner.joined, runner.drained = True, False
    runner.provider, runner.pool = event.provider, event.pool
    runner.only_for = event.only_for
    runner.capabilities = frozenset(event.capabilities)
    runner.vcpu_millis, runner.memory_mib = event.per_attempt.vcpu_millis, event.per_attempt.memory_mib


def _drained(state: SchedulerState, event: RunnerDrained, by: Cause) -> None:
    if (runner := state.runners.get(event.runner)) is not None:
        runner.drained = True


def _undrained(state: SchedulerState, event: RunnerUndrained, by: Cause) -> None:
    if (runner := state.runners.get(event.runner)) is not None:
        runner.drained = False


Fold = Callable[[SchedulerState, Any, Cause], None]

FOLDS: dict[str, Fold] = {
    TaskSubmitted.type: _submitted,
    TaskCancellationRequested.type: _cancellation_requested,
    PlanChanged.type: _plan_changed,
    StorageMeasured.type: _stored,
    OrgSuspended.type: _suspended,
    OrgResumed.type: _resumed,
    RunnerJoined.type: _joined,
    RunnerDrained.type: _drained,
    RunnerUndrained.type: _undrained,
    TaskStarted.type: _started,
    AttemptFinished.type: _finished,
    AssignmentDeclined.type: _declined,
    **{
        own.type: _decision
        for own in (
            TaskAdmitted, TaskRejected, TaskAssigned, RunnerLost, TaskRequeued,
            TaskSucceeded, TaskFailed, TaskCancelled, TaskTimedOut,
        )
    },
}  # fmt: skip
