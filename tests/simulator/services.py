"""The six services without their walls: the real handlers, deciders, schedulers and executors, wired to a machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from event_examples import runner_joined
from remote_claude.access.plans import Plans
from remote_claude.access.principal import Presented
from remote_claude.access.verifier import Verifier
from remote_claude.auth.handlers import ApiKeys
from remote_claude.billing.consumers import AccountOpener
from remote_claude.billing.handlers import Accounts
from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.contracts.leases import LeaseRequest
from remote_claude.contracts.refusals import NotCaughtUp
from remote_claude.contracts.requests import RENEW_LEASES
from remote_claude.contracts.runner import RunnerJoined
from remote_claude.contracts.scheduler import TaskAssigned
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.tail import Tail
from remote_claude.gateway.api.models import SubmitRequest
from remote_claude.gateway.api.submissions import Submissions
from remote_claude.gateway.consumers import LogConsumer
from remote_claude.gateway.domain.lifecycle import TaskProgress, evolve
from remote_claude.gateway.domain.offers import Offers
from remote_claude.gateway.domain.policies import Policies
from remote_claude.gateway.domain.refusals import TaskNotFound
from remote_claude.gateway.domain.task import RequestCancellation
from remote_claude.gateway.handlers import Decisions, SubmissionResult, TaskHandlers
from remote_claude.gateway.live_tasks import LiveTasks
from remote_claude.gateway.projections.tasks import TasksView
from remote_claude.runner.assignments import Executor
from remote_claude.runner.handlers import AttemptLog
from remote_claude.runner.leases.lease import Lease
from remote_claude.runner.leases.renewals import keep_leases
from remote_claude.runner.projections.held import AssignedAttempt, HeldView, changes
from remote_claude.scheduler.domain.state import SchedulerState
from remote_claude.scheduler.leadership import LeadershipLost, Watch
from remote_claude.scheduler.process import Scheduler
from remote_claude.scheduler.projections.snapshots import SNAPSHOT, Snapshot
from remote_claude.scheduler.settings import SchedulerSettings
from remote_claude.users.handlers import Directory
from simulator.loop import is_dead
from simulator.processes import Machine, in_background
from simulator.sandboxes import Execution, Sandboxes

LEASE_S = 15


class Gateway:
    """Takes submissions and cancellations from clients that have a key."""

    def __init__(self, machine: Machine) -> None:
        log = machine.log()
        self.tail = Tail(log)
        self.verifier = Verifier(log, self.tail, machine.clock)
        self.decisions, offers, policies = Decisions(), Offers(), Policies()
        self.view = TasksInMemory(self.tail)
        queries: Any = self.view
        self.handlers = TaskHandlers(
            log,
            self.decisions,
            queries,
            machine.clock,
            admission_wait_s=2.0,
            log_wait_s=5.0,
            event_id=machine.event_id,
        )
        months: Any = None  # no organisation here has a budget
        runtime: Any = SimpleNamespace(
            keyring=machine.keyring(), new_id=machine.new_id, verifier=self.verifier
        )
        self.submissions = Submissions(runtime, offers, policies, months, self.handlers, queries)
        live = LiveTasks(queries, wait_s=5.0)
        nobody: Any = SimpleNamespace(on_event=lambda _: None, on_batch=lambda: None, revoke=lambda _: None)
        self.consumer = LogConsumer(
            log, self.tail, self.decisions, offers, policies, live, nobody, nobody, Plans(log, machine.clock)
        )

    async def run(self, ready: Callable[[], None]) -> None:
        async with self.tail:
            await self.verifier.load()
            await self.consumer.load()
            ready()
            await in_background(
                {"verifier": self.verifier.run, "log": self.consumer.run, "view": self.view.run}
            )

    async def close(self) -> None:
        pass

    async def submit(self, secret: str, request: SubmitRequest, key: str | None) -> SubmissionResult:
        who = self.verifier.admit(Presented(authorization=f"Bearer {secret}"), "submit_task")
        return await self.submissions.submit(who, request, key)

    async def cancel(self, secret: str, task: str) -> tuple[TaskProgress, int]:
        who = self.verifier.admit(Presented(authorization=f"Bearer {secret}"), "cancel_task")
        return await self.handlers.request_cancellation(
            RequestCancellation(task=task, org=who.org, user=who.user)
        )


class TasksInMemory:
    """The view `gateway_tasks`: its fold is the gateway's own, its table a dictionary."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._rows: dict[tuple[str, str], TaskProgress] = {}
        self._moved = asyncio.Event()
        self.position = 0

    async def run(self) -> None:
        async for batch in self._tail.subscribe(after=self.position):
            for recorded in batch:
                self._fold(recorded)
            moved, self._moved = self._moved, asyncio.Event()
            moved.set()

    def _fold(self, recorded: RecordedEvent) -> None:
        if recorded.type in TasksView.handles:
            event = recorded.event
            key = event.org, event.task
            if recorded.type == TaskSubmitted.type:
                self._rows[key] = TaskProgress(changed=recorded.position)
            if key in self._rows:
                self._rows[key] = evolve(
                    self._rows[key], event, position=recorded.position, occurred_at=recorded.occurred_at
                )
        self.position = recorded.position

    async def caught_up(self, position: int, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                while self.position < position:
                    await self._moved.wait()
        except TimeoutError:
            raise NotCaughtUp(position, self.position) from None

    async def get(self, org: str, task: str) -> tuple[Any, int]:
        if (org, task) not in self._rows:
            raise TaskNotFound(task)
        return SimpleNamespace(progress=self._rows[org, task]), self.position


class Lock:
    """PostgreSQL's advisory lock: its holder may have lost it, and not know yet."""

    def __init__(self, check_s: float) -> None:
        self._check_s = check_s
        self.holder: object | None = None
        self._freed = asyncio.Event()

    def cut(self) -> None:
        """The connection of its holder is gone."""
        self.holder = None
        self._freed.set()

    async def take(self) -> object:
        while self.holder is not None:
            self._freed.clear()
            await self._freed.wait()
        self.holder = mine = object()
        return mine

    async def watch(self, mine: object) -> None:
        while self.holder is mine:  # noqa: ASYNC110  looked at now and then, as the real one is
            await asyncio.sleep(self._check_s)
        raise LeadershipLost("the lock is gone")


class SimulatedElection:
    """The holder of the lock leads; for some seconds two may believe so."""

    problem: str | None = None

    def __init__(self, lock: Lock) -> None:
        self._lock = lock

    @asynccontextmanager
    async def term(self) -> Any:
        mine = await self._lock.take()

        async def watch() -> None:
            await self._lock.watch(mine)

        given: Watch = watch
        try:
            yield given
        finally:
            if self._lock.holder is mine:
                self._lock.cut()


class SnapshotsInMemory:
    """The last snapshot, as the document that it is stored as."""

    def __init__(self) -> None:
        self._document: bytes | None = None
        self._position = 0

    async def load(self) -> SchedulerState | None:
        return None if self._document is None else SNAPSHOT.validate_json(self._document).state()

    async def save(self, state: SchedulerState) -> None:
        document, position = SNAPSHOT.dump_json(Snapshot.of(state)), state.position
        await asyncio.sleep(0.02)
        if not is_dead() and position > self._position:
            self._document, self._position = document, position

    async def discard(self) -> None:
        self._document, self._position = None, 0


class SchedulerProcess:
    """The real scheduler, and its desk on core NATS."""

    def __init__(self, machine: Machine, lock: Lock, snapshots: SnapshotsInMemory) -> None:
        log = machine.log()
        self.tail = Tail(log)
        settings = SchedulerSettings(lease_s=LEASE_S, snapshot_events=60, snapshot_interval_s=20.0)
        self.scheduler = Scheduler(
            log,
            self.tail,
            machine.clock,
            settings,
            SimulatedElection(lock),
            snapshots,
            machine.monotonic,
        )
        self._nats: Any = machine.nats()

    async def run(self, ready: Callable[[], None]) -> None:
        async with self.tail:
            ready()
            await in_background({"schedule": self.scheduler.run, "answer leases": self._answer_leases})

    async def _answer_leases(self) -> None:
        """What `answer_requests` does, without FastStream: it has threads and clocks of its own."""
        subscription = await self._nats.subscribe(RENEW_LEASES.subject)
        async with asyncio.TaskGroup() as answering:
            async for message in subscription.messages:
                answering.create_task(self._answer(message))

    async def _answer(self, message: Any) -> None:
        request = LeaseRequest.model_validate_json(message.data)
        if (answer := await self.scheduler.requests.renew(request)) is not None:
            await message.respond(answer.model_dump_json().encode())

    async def close(self) -> None:
        await self.scheduler.stop()


class RunnerProcess:
    """The real executor and its leases; only what it launches is not real."""

    def __init__(self, machine: Machine, sandboxes: Sandboxes, slots: int) -> None:
        self._machine, self._sandboxes, self._slots = machine, sandboxes, slots
        self._log = machine.log()
        self.tail = Tail(self._log)
        self._lease = Lease(LEASE_S)
        self.executor = Executor(
            self._log,
            self.tail,
            machine.clock,
            machine.name,
            joined=self._joined,
            slots=slots,
            execute=self._execute,
            held=self._held,
            event_id=machine.event_id,
        )

    async def run(self, ready: Callable[[], None]) -> None:
        async with self.tail:
            self._sandboxes.reap(self._machine.name)
            ready()
            nats: Any = self._machine.nats()
            await in_background(
                {
                    "execute": self.executor.run,
                    "keep leases": lambda: keep_leases(nats, self.executor, self._lease),
                }
            )

    async def close(self) -> None:
        await self.executor.close()

    def _joined(self) -> RunnerJoined:
        return runner_joined(
            self._machine.name,
            slots=self._slots,
            agents=("shell", "noop"),
            vcpu_millis=8000,
            memory_mib=16384,
        )

    def _execute(self, assigned: TaskAssigned, attempt_log: AttemptLog) -> Execution:
        return Execution(self._machine, self._sandboxes, assigned, attempt_log, self._lease)

    async def _held(self, position: int) -> Sequence[AssignedAttempt]:
        """The view `runner_held`: its changes are the runner's own."""
        events = [
            recorded
            async for batch in self._log.read(until=position)
            for recorded in batch
            if recorded.type in HeldView.handles
        ]
        return [
            AssignedAttempt(*attempt, cause, traceparent)
            for attempt, (runner, cause, traceparent) in changes(events)[0].items()
            if runner == self._machine.name
        ]


class Billing:
    """Opens accounts and periods, beside another that does the same."""

    def __init__(self, machine: Machine) -> None:
        log = machine.log()
        self.tail = Tail(log)
        self.accounts = Accounts(log, machine.clock, machine.event_id)
        self.opener = AccountOpener(log, self.tail, machine.clock, self.accounts, "free")

    async def run(self, ready: Callable[[], None]) -> None:
        async with self.tail:
            ready()
            await in_background(
                {"open accounts": self.opener.open_accounts, "roll periods": self.opener.roll_periods}
            )

    async def close(self) -> None:
        pass


class Users:
    """People and organisations."""

    def __init__(self, machine: Machine) -> None:
        self.directory = Directory(machine.log(), machine.keyring(), machine.clock, machine.event_id)

    async def run(self, ready: Callable[[], None]) -> None:
        ready()
        await asyncio.Event().wait()

    async def close(self) -> None:
        pass


class Auth:
    """API keys."""

    def __init__(self, machine: Machine) -> None:
        self.keys = ApiKeys(machine.log(), machine.clock, machine.event_id)

    async def run(self, ready: Callable[[], None]) -> None:
        ready()
        await asyncio.Event().wait()

    async def close(self) -> None:
        pass
