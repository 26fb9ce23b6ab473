"""Faults that are planted to see that they are found: each breaks an invariant, and a run with it has to say so.

`process.py` plants one before anything is built. A mutant that needs a death to show says where the services die.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from crashing.points import Point
from remote_claude.billing.projections.metering import MeteringRows
from remote_claude.contracts.scheduler import TaskRequeued
from remote_claude.eventsourcing.jetstream import append_queue as appends
from remote_claude.eventsourcing.postgres import batches
from remote_claude.eventsourcing.postgres.schemas import move_checkpoint
from remote_claude.gateway import handlers, webhook_deliveries
from remote_claude.gateway.api.submissions import Submissions
from remote_claude.gateway.domain.task import SubmitTask
from remote_claude.gateway.domain.webhooks import headers
from remote_claude.gateway.handlers import SubmissionResult, TaskHandlers
from remote_claude.gateway.watchers import Watchers
from remote_claude.runner.sessions import WorkerSession
from remote_claude.runtime.agent_output import OutputStream, OutputWriter
from remote_claude.runtime.archive import store
from remote_claude.scheduler.domain import decide
from remote_claude.scheduler.domain.known_leases import Leases
from remote_claude.scheduler.domain.tasks import Running
from remote_claude.worker.protocol import messages as protocol
from remote_claude.worker.protocol.messages import Ack


@dataclass(frozen=True)
class Mutant:
    """A fault, the invariant that it breaks (0 for a control, which breaks none), and the run that shows it.

    `work` is a method of `Workload`; what has not come to rest after `patience_s` is a breach itself.
    """

    name: str
    invariant: int
    plant: Callable[[], None]
    work: str
    scenario: tuple[Point, ...] = ()
    patience_s: float = 20.0
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def what(self) -> str:
        return (self.plant.__doc__ or "").strip()


MUTANTS: dict[str, Mutant] = {}

Plant = Callable[[], None]


def breaks(
    invariant: int, work: str, *deaths: str, patience_s: float = 20.0, **environment: str
) -> Callable[[Plant], Plant]:
    """Register what the decorated function plants."""

    def register(plant: Plant) -> Plant:
        name = plant.__name__
        scenario = tuple(Point.of(text) for text in deaths)
        MUTANTS[name] = Mutant(name, invariant, plant, work, scenario, patience_s, environment)
        return plant

    return register


@breaks(1, "run_noops", "after answer POST /v1/tasks #1")
def acknowledged_before_it_is_appended() -> None:
    """A submission is answered before it is in the log."""
    submit = TaskHandlers.submit

    async def hasty(self: TaskHandlers, command: Any) -> SubmissionResult:
        async def later() -> None:
            await asyncio.sleep(1)
            await submit(self, command)

        hasty.later = asyncio.ensure_future(later())  # type: ignore[attr-defined]
        return SubmissionResult(task=command.task, position=1, decision=None)

    TaskHandlers.submit = hasty  # type: ignore[method-assign]


@breaks(2, "run_shells")
def requeued_while_it_lives() -> None:
    """The scheduler gives up attempts whose lease is kept."""

    def expired(self: Leases, state: Any, now: float) -> Any:
        return ((attempt, "attempt_lost") for attempt in state.occupying() if isinstance(attempt, Running))

    Leases.expired = expired  # type: ignore[method-assign]


@breaks(2, "run_shells", "after append runner.execution.sandbox_run:SandboxRun.run #1", patience_s=12)
def attempt_number_stays() -> None:
    """The next attempt has the number of the lost one."""
    decide.TaskRequeued = lambda **said: TaskRequeued(**{**said, "attempt": said["attempt"] - 1})  # type: ignore[attr-defined,assignment]


@breaks(3, "run_noops")
def ended_twice() -> None:
    """A task's end is decided twice."""
    conclude = decide.conclude

    def twice(task: Any) -> list[Any]:
        said = conclude(task)
        return [*said, said[-1]]

    decide.conclude = twice


@breaks(4, "run_shells")
def samples_summed() -> None:
    """The samples of an attempt are added up, though they are cumulative."""
    record = MeteringRows.sample

    def summed(self: MeteringRows, recorded: Any, attempt: Any, sample: Any) -> None:
        rows = self._of_attempt[attempt]
        before = rows[-1]["cumulative"].get("vcpu_ms", 0) if rows else 0
        total = sample.cumulative.model_copy(update={"vcpu_ms": sample.cumulative.vcpu_ms + before})
        record(self, recorded, attempt, sample.model_copy(update={"cumulative": total}))

    MeteringRows.sample = summed  # type: ignore[method-assign]


@breaks(
    5,
    "run_noops",
    "after commit eventsourcing.postgres.batches:Applier.apply gateway_tasks #3",
    patience_s=12,
)
def checkpoint_apart() -> None:
    """A view's checkpoint is written in a transaction of its own, before what it stands for."""

    async def apart(connection: Any, view: Any, batch: Any, *, start: int) -> Any:
        async with connection.transaction():
            await move_checkpoint(connection, start, batch.end, view.version)
        async with connection.transaction():
            await batches._fold(connection, view, batch.fold)
            await connection.execute("UPDATE checkpoint SET position = position")
        return batch.parked

    batches.apply_batch = apart


@breaks(6, "run_noops")
def quota_off_by_one() -> None:
    """One more is admitted than the plan allows."""
    admit = decide.admit
    decide.admit = lambda task, organisation, reserved, moment: admit(
        task, organisation, reserved - 1, moment
    )


@breaks(7, "run_shells")
def frames_acknowledged_early() -> None:
    """A worker's frames are acknowledged before they are stored, which fails once."""
    output_fails_once()
    store_frames = WorkerSession._store

    async def early(self: WorkerSession, message: Any) -> None:
        acked = max(self.acked, message.seq + len(message.frames) - 1)
        connection = self._connection
        if connection is not None:
            await connection.send(protocol.encode(Ack(seq=acked)))
        try:
            await store_frames(self, message)
        finally:
            self.acked = acked

    WorkerSession._store = early  # type: ignore[method-assign]


@breaks(0, "run_shells")
def output_fails_once() -> None:
    """A write to the output fails once: a control, since the worker says again what was not acknowledged."""
    publish, failed = OutputStream.publish, list[str]()

    async def failing(self: OutputStream, subject: str, data: bytes, expected: int) -> int:
        if expected and b'"output"' in data and not failed:
            failed.append(subject)
            raise OSError("planted")
        return await publish(self, subject, data, expected)

    OutputStream.publish = failing  # type: ignore[method-assign]


@breaks(7, "run_shells")
def frames_sent_twice() -> None:
    """Every chunk of output is written twice."""
    write = OutputWriter.write

    async def twice(self: OutputWriter, frames: Any) -> None:
        await write(self, frames)
        await write(self, frames)

    OutputWriter.write = twice  # type: ignore[method-assign]


@breaks(8, "run_noops")
def body_hash_ignored() -> None:
    """Another body under a known idempotency key is taken for the first."""

    task = handlers.TASK

    def unchecked(command: Any, state: Any) -> Any:
        known = isinstance(command, SubmitTask) and state != task.initial_state
        return [] if known else task.decide(command, state)

    handlers.TASK = replace(task, decide=unchecked)


@breaks(8, "run_noops", "after acknowledged TaskSubmitted #1")
def guard_dropped() -> None:
    """Appends are not guarded: what is sent again lands again."""
    appends._guard = lambda append: b""


@breaks(8, "run_told", "after effect gateway.webhook_deliveries:Deliveries.perform #1")
def told_under_another_id() -> None:
    """A webhook is told again under another id."""
    sign = headers
    webhook_deliveries.headers = lambda secret, key, *rest: sign(secret, str(uuid4()), *rest)  # type: ignore[attr-defined]


@breaks(9, "run_noops")
def organisation_from_the_body() -> None:
    """Whose task it is, is taken from what was sent."""
    submit = Submissions.submit

    async def believing(self: Submissions, who: Any, request: Any, key: str | None) -> Any:
        return await submit(self, replace(who, org=request.labels.get("org", who.org)), request, key)

    Submissions.submit = believing  # type: ignore[method-assign,assignment]


@breaks(10, "run_noops")
def archive_edited() -> None:
    """A row of the archive is changed after it was written."""
    write = store.write

    async def editing(connection: Any, start: Any, events: Any) -> Any:
        end = await write(connection, start, events)
        await connection.execute("UPDATE log.event SET data = data || ' ' WHERE position = 3")
        return end

    store.write = editing


@breaks(11, "run_flood")
def ring_unbounded() -> None:
    """All that a watched task puts out is kept in memory."""
    init = Watchers.__init__

    def unbounded(self: Watchers, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **{**kwargs, "ring_bytes": 1 << 40})

    Watchers.__init__ = unbounded  # type: ignore[method-assign]


LEASE: dict[str, Any] = {
    "RCLAUDE_SCHEDULER_LEASE_S": "2",
    "RCLAUDE_SCHEDULER_GRACE_S": "0.5",
    "RCLAUDE_RUNNER_LEASE_S": "2",
}


@breaks(12, "run_without_its_runner", patience_s=10, **LEASE)
def reaper_disabled() -> None:
    """Nobody looks for attempts that no runner keeps."""
    Leases.expired = lambda self, state, now: iter(())  # type: ignore[method-assign]


@breaks(0, "run_without_its_runner", **LEASE)
def nothing_planted() -> None:
    """Nothing: a control, in which a runner never comes back and its attempt is found by its lease."""


@breaks(0, "run_flood")
def nothing_planted_in_a_flood() -> None:
    """Nothing: a control, in which a watched task puts out more than may be kept in memory."""
