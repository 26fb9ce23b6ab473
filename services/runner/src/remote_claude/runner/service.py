"""The composition root of the runner."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from remote_claude.contracts.runner import Resources, RunnerJoined
from remote_claude.contracts.scheduler import TaskAssigned
from remote_claude.eventsourcing.postgres.schemas import borrow
from remote_claude.runner import agents
from remote_claude.runner.agents import AgentInfo
from remote_claude.runner.execution import SandboxedExecution, Workshop, clear_away
from remote_claude.runner.executor import Executor
from remote_claude.runner.journal import Journal
from remote_claude.runner.lease import Lease
from remote_claude.runner.model_proxy import Upstream
from remote_claude.runner.projections.held import HeldAttempt, HeldView, held_by
from remote_claude.runner.providers.base import SandboxUnavailable
from remote_claude.runner.providers.local import LocalProvider
from remote_claude.runner.renewals import keep_leases
from remote_claude.runner.settings import RunnerSettings
from remote_claude.runtime.durable_files import write_private
from remote_claude.runtime.service import Runtime, Service

log = structlog.get_logger(__name__)


def build(runtime: Runtime) -> Service:
    """Wire the runner to what its process shares."""
    settings = RunnerSettings.from_environment()
    home = runtime.settings.home.expanduser()
    provider = LocalProvider(home / "runner", settings.isolation)
    workshop = Workshop(
        runtime,
        settings,
        provider,
        Upstream.from_environment(runtime.environment),
        home / "runner" / "attempts",
    )
    desk = _Desk(runtime, settings, provider, workshop)
    return Service(
        name="runner",
        views=(HeldView(),),
        background={
            "execute": desk.run,
            "keep leases": lambda: keep_leases(runtime.nats, desk.executor, desk.lease),
        },
        on_stop=desk.close,
        ready=desk.ready,
        status=desk.status,
    )


class _Desk:
    """The runner's parts that have a life: its id, its provider, its agents, its executor."""

    def __init__(
        self, runtime: Runtime, settings: RunnerSettings, provider: LocalProvider, workshop: Workshop
    ) -> None:
        self._settings, self._provider, self._workshop = settings, provider, workshop
        self._agents = _agents(runtime.environment, settings)
        self._executions: set[SandboxedExecution] = set()
        self.lease = Lease(settings.lease_s)
        self.executor = Executor(
            runtime.log,
            runtime.tail,
            runtime.clock,
            runner_id(runtime),
            joined=self._joined,
            slots=settings.slots,
            execute=self._execute,
            held=self._held,
        )

    async def run(self) -> None:
        """Clear away what an earlier life left, see whether this machine can isolate, then take work."""
        await self.executor.end_all()  # where that life was in this process, they still use their folders
        await self._provider.reap()  # from here on this home is ours alone
        await asyncio.to_thread(clear_away, self._workshop.folder)
        try:
            await self._provider.check()
        except SandboxUnavailable as error:
            log.error("agents that need a sandbox are not offered", detail=str(error))
            self._agents = [
                AgentInfo(a.name, a.name == "noop" and a.available, "" if a.name == "noop" else str(error))
                for a in self._agents
            ]
        await self.executor.run()

    async def close(self) -> None:
        """Give back what runs, so that it goes on elsewhere, or here after the next start."""
        try:
            await self.executor.close()
        finally:
            await self._provider.close()

    def ready(self) -> str | None:
        """Why no work is taken, if none is."""
        return None if self.executor.joined else "the runner has not joined yet"

    def status(self) -> Mapping[str, Any]:
        """What runs here, and what could."""
        return {
            "runner": self.executor.runner,
            "slots": self._settings.slots,
            "isolation": self._settings.isolation,
            "attempts": [held.model_dump() for held in self.executor.held],
            "workers": sorted(e.pid for e in self._executions if e.pid is not None),
            "agents": [asdict(agent) for agent in self._agents],
        }

    def _joined(self) -> RunnerJoined:
        settings, slots = self._settings, self._settings.slots
        size = Resources(vcpu_millis=settings.vcpu_millis, memory_mib=settings.memory_mib)
        total = Resources(vcpu_millis=size.vcpu_millis * slots, memory_mib=size.memory_mib * slots)
        return RunnerJoined(
            runner=self.executor.runner,
            provider=self._provider.name,
            pool=settings.pool,
            region=settings.region,
            release=version("remote-claude-runner"),
            slots=slots,
            per_attempt=size,
            total=total,
            free=total,
            agents=tuple(agent.name for agent in self._agents if agent.available),
        )

    async def _held(self, position: int) -> Sequence[HeldAttempt]:
        runtime = self._workshop.runtime
        await runtime.projectors[HeldView.name].wait_for(position, timeout=float("inf"))
        async with borrow(runtime.pool) as connection:
            return await held_by(connection, self.executor.runner)

    def _execute(self, assigned: TaskAssigned, journal: Journal) -> SandboxedExecution:
        execution = SandboxedExecution(
            self._workshop, assigned, journal, self.lease, on_end=self._executions.discard
        )
        self._executions.add(execution)
        return execution


def _agents(environment: Mapping[str, str], settings: RunnerSettings) -> list[AgentInfo]:
    noop = AgentInfo(
        "noop", settings.allow_noop, "" if settings.allow_noop else "The operator does not allow it."
    )
    return [*agents.available(environment), noop]


def runner_id(runtime: Runtime) -> str:
    """This runner's id: kept on disk, so that one that starts again knows what it held."""
    path: Path = runtime.settings.home.expanduser() / "runner" / "id"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, runtime.new_id("runner"))
    return path.read_text().strip()
