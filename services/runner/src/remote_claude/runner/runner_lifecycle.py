"""One runner from its start to its end: its id, its provider, its agents, its listener and its executor."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from remote_claude.contracts.runner import OPERATOR_MODEL, Resources, RunnerJoined
from remote_claude.contracts.scheduler import TaskAssigned
from remote_claude.eventsourcing.postgres.schemas import borrow
from remote_claude.outbound import AllowedHosts
from remote_claude.outbound.hosts import NONE
from remote_claude.runner.api import WORKERS
from remote_claude.runner.assignments import Executor
from remote_claude.runner.execution import ExecutionDependencies, SandboxedExecution
from remote_claude.runner.handlers import AttemptLog
from remote_claude.runner.leases.lease import Lease
from remote_claude.runner.leases.renewals import keep_leases
from remote_claude.runner.machines.protocol import MachineHello
from remote_claude.runner.model_proxy import Upstream
from remote_claude.runner.projections.held import AssignedAttempt, HeldView, held_by
from remote_claude.runner.providers import (
    ComputeProvider,
    ProviderSettings,
    SandboxUnavailable,
    UnixSocket,
    create,
)
from remote_claude.runner.sessions import WorkerListener, WorkerSession
from remote_claude.runner.settings import RunnerSettings
from remote_claude.runtime import owner
from remote_claude.runtime.durable_files import write_private
from remote_claude.runtime.service import Runtime
from remote_claude.worker import agents
from remote_claude.worker.agents import AgentInfo

CAPABILITIES = ("model", "budget", "secrets")
"""What a submission may ask of this runner beyond the basic features."""

log = structlog.get_logger(__name__)

FIRST = "local"
"""The provider whose runner has the folder `runner` itself; others have folders in it."""


class RunnerLifecycle:
    """A runner with one provider."""

    def __init__(
        self,
        runtime: Runtime,
        settings: RunnerSettings,
        provider: ComputeProvider,
        folder: Path,
        agents: Sequence[AgentInfo],
        *,
        websocket_url: str | None,
        only_for: str | None = None,
    ) -> None:
        """`folder` is this runner's alone; its id is kept there. `only_for` is the one organisation whose tasks it takes, on
        a machine of that organisation's own."""
        id_ = runner_id(runtime, folder)
        self._runtime, self._settings, self._provider, self._only_for = runtime, settings, provider, only_for
        self.listener = WorkerListener(folder)
        self._dependencies = ExecutionDependencies(
            runtime,
            settings,
            self._provider,
            _operators_model(runtime, settings),
            self.listener,
            f"{websocket_url.rstrip('/')}{WORKERS}/{id_}" if websocket_url else None,
            folder / "attempts",
            AllowedHosts.parse(runtime.settings.outbound_allow),
            _owner(runtime) if settings.model_key_for == "owner" else None,
            own_compute=only_for is not None,
        )
        self._agents = list(agents)
        self._executions: set[SandboxedExecution] = set()
        self.lease = Lease(settings.lease_s)
        self.executor = Executor(
            runtime.log,
            runtime.tail,
            runtime.clock,
            id_,
            joined=self._joined,
            slots=settings.slots,
            execute=self._execute,
            held=self._held,
        )

    async def run(self) -> None:
        """Remove what an earlier process left, find out whether sandboxes work here, then take work."""
        await self.executor.end_all()  # where that process was this one, they still use their folders
        await self._provider.recover()  # from here on this folder is ours alone
        await asyncio.to_thread(_remove_attempts, self._dependencies.folder)
        await self.listener.open()
        try:
            if self._dependencies.websocket_url is None and UnixSocket not in self._provider.transports:
                raise SandboxUnavailable(
                    f"workers of the provider {self._provider.name} reach their runner through the gateway: set "
                    "RCLAUDE_RUNNER_GATEWAY_URL, or RCLAUDE_RUNNER_RELAY_URL"
                )
            await self._provider.check()
        except SandboxUnavailable as error:
            log.error("agents that need a sandbox are not offered", detail=str(error))
            self._agents = [
                AgentInfo(a.name, a.name == "noop" and a.available, "" if a.name == "noop" else str(error))
                for a in self._agents
            ]
        await self.executor.run()

    async def keep_leases(self) -> None:
        """Renew the leases of what runs, until cancelled."""
        await keep_leases(self._runtime.nats, self.executor, self.lease)

    async def close(self) -> None:
        """Give back what runs, so that it continues elsewhere, or here after the next start."""
        try:
            await self.executor.close()
        finally:
            await self._provider.close()
            await self.listener.close()

    def session_of(self, org: str, task: str) -> WorkerSession | None:
        """The session with the worker of a task that runs here."""
        return next((e.session for e in self._executions if e.is_of(org, task)), None)

    @property
    def unready(self) -> str | None:
        """Why it takes no work, if it takes none."""
        return None if self.executor.joined else "the runner has not joined yet"

    def status(self) -> Mapping[str, Any]:
        """What runs here, and what could."""
        return {
            "runner": self.executor.runner,
            "provider": self._provider.name,
            "slots": self._settings.slots,
            "isolation": self._settings.isolation,
            "attempts": [held.model_dump() for held in self.executor.held],
            "workers": sorted(e.handle for e in self._executions if e.handle is not None),
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
            capabilities=(
                *CAPABILITIES,
                *(("image",) if self._provider.capabilities.image else ()),
                *(("network",) if settings.network != NONE else ()),
                *((OPERATOR_MODEL,) if self._dependencies.upstream is not None else ()),
            ),
            operator_model_for=self._dependencies.upstream_for,
            only_for=self._only_for,
        )

    async def _held(self, position: int) -> Sequence[AssignedAttempt]:
        await self._runtime.projectors[HeldView.name].wait_for(position, timeout=float("inf"))
        async with borrow(self._runtime.pool) as connection:
            return await held_by(connection, self.executor.runner)

    def _execute(self, assigned: TaskAssigned, attempt_log: AttemptLog) -> SandboxedExecution:
        execution = SandboxedExecution(
            self._dependencies, assigned, attempt_log, self.lease, on_end=self._executions.discard
        )
        self._executions.add(execution)
        return execution


def provider_runner(runtime: Runtime, settings: RunnerSettings, provider: str) -> RunnerLifecycle:
    """The runner of a provider by name, for the tasks of all organisations."""
    home = runtime.settings.home.expanduser() / "runner"
    folder = home if provider == FIRST else home / provider
    made = create(
        provider,
        ProviderSettings(runner=runner_id(runtime, folder), home=folder, environment=os.environ),
    )
    agents = _agents(runtime.environment, settings)
    return RunnerLifecycle(
        runtime, settings, made, folder, agents, websocket_url=settings.gateway_url or settings.relay_url
    )


def machine_runner(
    runtime: Runtime, settings: RunnerSettings, org: str, hello: MachineHello, provider: ComputeProvider
) -> RunnerLifecycle:
    """The runner of a machine that has joined, for the tasks of its own organisation."""
    offered = settings.model_copy(
        update={"slots": hello.slots, "vcpu_millis": hello.vcpu_millis, "memory_mib": hello.memory_mib}
    )
    name = hashlib.sha256(f"{org}/{hello.name}".encode()).hexdigest()[:16]
    folder = runtime.settings.home.expanduser() / "runner" / "machines" / name
    agents = [AgentInfo(name, available=True) for name in hello.agents]
    return (
        RunnerLifecycle(  # the machine has the address that it dialled, and puts it in the place of this one
            runtime, offered, provider, folder, agents, websocket_url="wss://gateway.invalid", only_for=org
        )
    )


def _agents(environment: Mapping[str, str], settings: RunnerSettings) -> list[AgentInfo]:
    noop = AgentInfo(
        "noop", settings.allow_noop, "" if settings.allow_noop else "The operator does not allow it."
    )
    return [*agents.available(environment), noop]


def _owner(runtime: Runtime) -> str | None:
    """The organisation that owns an embedded stack."""
    file = runtime.settings.owner_file
    return owner.load(file).org if file is not None else None


def _operators_model(runtime: Runtime, settings: RunnerSettings) -> Upstream | None:
    """The model by the operator's key; None where there is no key, or nobody that it may serve."""
    if settings.model_key_for == "owner" and runtime.settings.owner_file is None:
        return None
    return Upstream.from_environment(runtime.environment)


def _remove_attempts(folder: Path) -> None:
    """What the attempts of an earlier process, killed in the middle of them, have left on this machine."""
    for left in folder.glob("*"):
        shutil.rmtree(left)


def runner_id(runtime: Runtime, folder: Path) -> str:
    """This runner's id: kept on disk, so that one that starts again knows what it held."""
    path = folder / "id"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, runtime.new_id("runner"))
    return path.read_text().strip()
