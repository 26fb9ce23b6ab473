"""What a runner launches, and when: its executor, its leases and its executions, asked by a scheduler of the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from nats.aio.msg import Msg

from event_logs import until
from remote_claude.access.keyring import Keyring
from remote_claude.contracts import EVENTS, Event
from remote_claude.contracts.contexts import prompt_context
from remote_claude.contracts.leases import SUBJECT, HeldAttempt, LeaseAnswer, LeaseRequest
from remote_claude.contracts.runner import AttemptFinished
from remote_claude.contracts.scheduler import Limits, RunnerLost, TaskAssigned
from remote_claude.eventsourcing.events import timestamp
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.log import EventLog
from remote_claude.eventsourcing.tail import Tail
from remote_claude.outbound import AllowedHosts
from remote_claude.runner.assignments import Executor
from remote_claude.runner.execution import ExecutionDependencies, SandboxedExecution
from remote_claude.runner.leases.lease import Lease
from remote_claude.runner.leases.renewals import keep_leases
from remote_claude.runner.projections.held import AssignedAttempt
from remote_claude.runner.providers import LaunchSpec, UnixSocket
from remote_claude.runner.service import build
from remote_claude.runner.settings import RunnerSettings
from remote_claude.runtime.host import hosting, keep_running
from remote_claude.runtime.settings import RuntimeSettings
from remote_claude.runtime.telemetry.tracing import Tracing
from scheduler_process import say
from scheduling import ORG, RUNNER, Damaged, Newer, cancelled, joined, started, submitted
from simulator.network import Broker, Message, SimulatedBucket, SimulatedNats
from workers import listening

ATTEMPT = HeldAttempt(org=ORG, task="task_1", attempt=1)


def clock() -> datetime:
    return datetime.now(UTC)


@dataclass
class Launches:
    """A provider on a machine that has no room: what it was asked for."""

    names: list[str] = field(default_factory=list)
    transports = frozenset({UnixSocket})

    async def launch(self, spec: LaunchSpec) -> Any:
        self.names.append(spec.name)
        raise OSError("no room")


@dataclass
class Stage:
    """A runner, and the scheduler's end of the line."""

    broker: Broker
    keyring: Keyring
    requests: Any
    launches: Launches

    async def request(self) -> tuple[LeaseRequest, Message]:
        """The next one that the runner sends."""
        message: Message = await anext(self.requests)
        return LeaseRequest.model_validate_json(message.data), message

    async def request_with(self, *attempts: HeldAttempt) -> Message:
        """The next one that names these."""
        while True:
            request, message = await self.request()
            if request.attempts == attempts:
                return message

    async def assign(self, attempt: int = 1) -> None:
        await say(self.broker.log, assigned(attempt=attempt))

    async def end(self) -> AttemptFinished:
        return await end_in(self.broker.log)


async def submit(log: EventLog, keyring: Keyring, prompt: str) -> None:
    sealed = (await keyring.create(ORG)).seal(prompt, prompt_context("task_1"))
    await say(log, submitted(agent="shell").model_copy(update={"prompt": sealed}))


def assigned(
    task: str = "task_1", attempt: int = 1, agent: str = "shell", runner: str = RUNNER
) -> TaskAssigned:
    return TaskAssigned(
        task=task,
        org=ORG,
        attempt=attempt,
        runner=runner,
        provider="local",
        pool="default",
        agent=agent,
        limits=Limits(vcpu_millis=1000, memory_mib=512, duration_s=600),
        deadline=timestamp(clock() + timedelta(seconds=600)),
        lease_s=5,
    )


async def end_in(log: EventLog) -> AttemptFinished:
    """What is said of the first attempt that ends."""
    async for batch in log.follow(after=0):
        for recorded in batch:
            if recorded.type == AttemptFinished.type:
                end: AttemptFinished = recorded.event
                return end
    raise AssertionError


async def answer(message: Message, *revoked: HeldAttempt) -> None:
    await message.respond(LeaseAnswer(known=True, revoked=revoked).model_dump_json().encode())


async def nothing(_: Stage) -> Sequence[AssignedAttempt]:
    return ()


@asynccontextmanager
async def runner(
    folder: Path, lease_s: float, *, held: Callable[[Stage], Awaitable[Sequence[AssignedAttempt]]] = nothing
) -> AsyncIterator[Stage]:
    """One that starts, and finds that it holds those."""
    broker, launches, lease = Broker(Damaged(EVENTS.values()), Random(1)), Launches(), Lease(lease_s)
    bucket: Any = SimulatedBucket(broker, RUNNER)
    keyring = Keyring(bucket, bytes(32))
    runtime: Any = SimpleNamespace(
        log=broker.log,
        keyring=keyring,
        objects=None,
        output=SimpleNamespace(writer=lambda *_: None),
        tracing=Tracing(),
        clock=clock,
    )
    provider: Any = launches

    scheduler, nats = SimulatedNats(broker, "scheduler"), SimulatedNats(broker, RUNNER)
    stage = Stage(broker, keyring, (await scheduler.subscribe(SUBJECT)).messages, launches)
    await submit(broker.log, keyring, "true")

    async with Tail(broker.log) as tail, listening(folder / "listener") as listener:
        dependencies = ExecutionDependencies(
            runtime, RunnerSettings(), provider, None, listener, None, folder, AllowedHosts()
        )
        executor = Executor(
            broker.log,
            tail,
            clock,
            RUNNER,
            joined=lambda: joined(agents=("shell",)),
            slots=1,
            execute=lambda assigned, attempt_log: SandboxedExecution(
                dependencies, assigned, attempt_log, lease, on_end=lambda _: None
            ),
            held=lambda _: held(stage),
        )
        client: Any = nats
        work = [
            asyncio.create_task(keep_running("execute", executor.run)),
            asyncio.create_task(keep_leases(client, executor, lease)),
        ]
        try:
            async with asyncio.timeout(60):
                yield stage
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)


@pytest.mark.parametrize("still_held", [True, False])
async def test_an_assignment_is_launched_once_the_scheduler_has_confirmed_it(
    tmp_path: Path, still_held: bool
) -> None:
    """A runner may read its assignment late: no lease that it got for something else says that it still has it."""
    async with runner(tmp_path, lease_s=15) as stage:
        before = await stage.request_with()
        await stage.assign()
        await answer(before)
        await stage.request_with(ATTEMPT)  # is not answered: it is asked again
        again = await stage.request_with(ATTEMPT)
        assert stage.launches.names == []
        await answer(again, *(() if still_held else (ATTEMPT,)))
        end = await stage.end()
    assert end.reason == ("runner_failed" if still_held else "revoked")
    assert stage.launches.names == (["task_1-1"] if still_held else [])


async def test_an_assignment_is_asked_about_at_once(tmp_path: Path) -> None:
    async with runner(tmp_path, lease_s=500) as stage:  # else it is asked every hundred seconds
        await answer(await stage.request_with())
        await stage.assign()
        await answer(await stage.request_with(ATTEMPT))
        await stage.end()
    assert stage.launches.names == ["task_1-1"]


async def test_what_was_never_launched_is_not_lost_with_a_lease_that_runs_out(tmp_path: Path) -> None:
    """A scheduler that was away for longer than a lease finds that a task assigned a moment ago still waits for it."""
    async with runner(tmp_path, lease_s=0.5) as stage:
        await answer(await stage.request_with())
        await stage.assign()
        for _ in range(8):  # a fifth of a lease each
            await stage.request_with(ATTEMPT)
        assert stage.launches.names == []
        await answer(await stage.request_with(ATTEMPT))
        end = await stage.end()
    assert end.reason == "runner_failed"  # of the provider that has no room: it was launched
    assert stage.launches.names == ["task_1-1"]


async def test_what_was_assigned_before_a_runner_joined_is_not_begun(tmp_path: Path) -> None:
    """That it joins tells the scheduler that it is lost, and the next attempt may be another's at once."""

    async def assigned_meanwhile(stage: Stage) -> Sequence[AssignedAttempt]:
        await stage.assign()
        return ()

    async with runner(tmp_path, lease_s=15, held=assigned_meanwhile) as stage:
        before = await stage.request_with()
        await stage.assign(attempt=2)
        await answer(before)
        request, message = await stage.request()
        assert [held.attempt for held in request.attempts] == [2]
        await answer(message)
        await stage.end()
    assert stage.launches.names == ["task_1-2"]


async def test_an_attempt_that_can_not_be_read_does_not_keep_its_runner_from_joining(tmp_path: Path) -> None:
    async def damaged(stage: Stage) -> Sequence[AssignedAttempt]:
        await say(stage.broker.log, started(runner="damaged"))
        return [AssignedAttempt(ORG, "task_1", 1, "cause", None)]

    async with runner(tmp_path, lease_s=15, held=damaged) as stage:
        await stage.request_with()


async def test_a_slot_is_free_when_the_end_of_its_attempt_is_recorded(tmp_path: Path) -> None:
    """What is left of it is cleared away before, however much that is: its successor comes at once."""
    async with runner(tmp_path, lease_s=15) as stage:
        left = tmp_path / "task_1-1"
        left.mkdir()
        for n in range(5000):
            (left / f"{n}").touch()
        before = await stage.request_with()
        await stage.assign()
        await answer(before)
        await answer(await stage.request_with(ATTEMPT))
        await stage.end()
        await stage.assign(attempt=2)
        request, message = await stage.request()
        while not request.attempts:
            await answer(message)
            request, message = await stage.request()
        assert [held.attempt for held in request.attempts] == [2]


@pytest.mark.parametrize(
    "damaged",
    [
        assigned("task_2", agent="damaged"),
        RunnerLost(task="task_2", org=ORG, attempt=1, runner=RUNNER, reason="damaged", charge=False),
    ],
    ids=lambda event: event.type,
)
async def test_an_event_that_can_not_be_read_ends_no_attempt(tmp_path: Path, damaged: Event) -> None:
    async with runner(tmp_path, lease_s=15) as stage:
        await answer(await stage.request_with())
        await stage.assign()
        await stage.request_with(ATTEMPT)
        await say(stage.broker.log, damaged)
        await say(stage.broker.log, cancelled())
        end = await stage.end()
    assert (end.outcome, end.reason) == ("cancelled", "cancelled")


async def test_what_runs_is_ended_before_a_runner_that_starts_over_clears_away(
    settings: RuntimeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its output is still there to be sealed, and its folder to be worked in."""
    monkeypatch.setenv("RCLAUDE_RUNNER_ISOLATION", "none")
    async with hosting([build], settings, {}, name="runner") as host, asyncio.timeout(200):
        [service], runtime = host.services, host.runtime

        async def renew(message: Msg) -> None:
            await message.respond(LeaseAnswer(known=True, revoked=()).model_dump_json().encode())

        await runtime.nats.subscribe(SUBJECT, cb=renew)
        await submit(runtime.log, runtime.keyring, "echo hello; exec sleep 600")
        await until(lambda: service.ready() is None)
        async with aclosing(runtime.output.follow()) as followed:
            await anext(followed)  # what is written from here on will come
            await say(runtime.log, assigned(runner=service.status()["runner"]))
            ended, said = asyncio.create_task(end_in(runtime.log)), asyncio.ensure_future(anext(followed))
            await asyncio.wait((ended, said), return_when=asyncio.FIRST_COMPLETED)
            assert not ended.done(), ended.result()
        async with JetStreamEventLog(runtime.nats, Newer(EVENTS.values())) as newer:
            await say(newer, cancelled("task_2"))
        end = await ended
    assert (end.outcome, end.reason) == ("lost", "lost")
    assert end.output is not None
