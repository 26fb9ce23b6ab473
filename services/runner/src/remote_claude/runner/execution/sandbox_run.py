"""One sandbox with its worker, from the launch to its end: leases, metering, streams, and why it ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import structlog
from msgspec.structs import replace

from remote_claude.concurrency.tasks import first_of
from remote_claude.contracts.model_prices import ModelPrices
from remote_claude.contracts.scheduler import TaskAssigned
from remote_claude.eventsourcing.events import parse_timestamp
from remote_claude.runner import billed_time
from remote_claude.runner.billed_time import UsageRecorder, Window
from remote_claude.runner.domain.attempt import Measured, Start
from remote_claude.runner.egress import Authority, EgressProxy, NetworkPolicy
from remote_claude.runner.execution import checkpoint_store
from remote_claude.runner.execution.attempt_output import AttemptOutput
from remote_claude.runner.execution.attempt_secrets import Released
from remote_claude.runner.execution.dependencies import ExecutionDependencies
from remote_claude.runner.execution.permission_requests import PermissionRequests
from remote_claude.runner.execution.task_messages import Messages
from remote_claude.runner.execution.verdict import AttemptEnd, judge
from remote_claude.runner.handlers import AttemptLog
from remote_claude.runner.leases.lease import Lease
from remote_claude.runner.model_proxy import ModelProxy, ModelUsage, Upstream
from remote_claude.runner.model_proxy.budget import Budget
from remote_claude.runner.model_proxy.call_policy import CallPolicy
from remote_claude.runner.model_proxy.month import Month
from remote_claude.runner.providers import LaunchSpec, SandboxLimits
from remote_claude.runner.sessions import OpenStream, WorkerSession
from remote_claude.runner.stopping import Stopping
from remote_claude.worker.protocol.messages import GRACE_S, Assignment, CheckpointSent

log = structlog.get_logger(__name__)

AFTER_STOP_S = GRACE_S + 5.0
"""How long a worker that was asked to stop may take to send its result."""
AFTER_EXIT_S = 1.0
"""How long the last messages of a sandbox that has ended may take to arrive."""


class SandboxRun:
    """Runs once. `used` can be measured from the launch on, and after the end."""

    def __init__(
        self,
        dependencies: ExecutionDependencies,
        assigned: TaskAssigned,
        attempt_log: AttemptLog,
        lease: Lease,
        stopping: Stopping,
        folder: Path,
    ) -> None:
        self._dependencies, self._assigned, self._attempt_log = dependencies, assigned, attempt_log
        self._lease, self._stopping, self._folder = lease, stopping, folder
        self._name = f"{assigned.task}-{assigned.attempt}"
        self._window = Window(dependencies.runtime.clock)
        self._proxy: ModelProxy | None = None
        self._launched = asyncio.Event()
        self._recorder = UsageRecorder(attempt_log, self.used)
        self._egress: EgressProxy | None = None
        self._permissions = PermissionRequests(dependencies.runtime.keyring, assigned, attempt_log)
        self.network = NetworkPolicy()
        """Where the attempt may connect to."""
        self._heard_at = 0.0
        """When there was output, by the event loop's clock."""
        self.image: str | None = None
        """Of the sandbox; None is the provider's own."""
        self.secrets = Released()
        """What the attempt has of the vault."""
        self.upstream: Upstream | None = None
        """The model, with the credential that the attempt uses."""
        self.budget: Budget | None = None
        """What the attempt may spend on the model."""
        self.month: Month | None = None
        """What its person and organisation may spend in a month; None where no model is used."""
        self.prices: ModelPrices | None = None
        """What its model calls cost, until it ends."""
        self.models: Sequence[str] = ()
        """Patterns of the models that its organisation allows; any if there are none."""
        self.handle: str | None = None
        """The provider's name of the sandbox, while there is one."""
        self.session: WorkerSession | None = None
        """The session with its worker, while there is one."""

    async def run(
        self,
        assignment: Assignment,
        output: AttemptOutput,
        *,
        bundle: Path | None,
        checkpoint: Path | None,
        messages: Messages,
    ) -> AttemptEnd:
        """Launch, wait for the end, terminate. Raises `ProviderError` when the sandbox can't be launched."""
        dependencies = self._dependencies
        inbox = self._folder / "inbox"
        inbox.mkdir(mode=0o700)
        async with contextlib.AsyncExitStack() as stack:
            streams: dict[str, OpenStream] = {}
            if self.upstream is not None:
                socket = dependencies.listener.private_socket(f"{self._name}.model")
                self._proxy = await stack.enter_async_context(
                    ModelProxy(
                        socket,
                        self.upstream,
                        self._recorder.record,
                        CallPolicy(dependencies.settings.model_allow, self.models),
                        self.budget,
                        dependencies.outbound if self.upstream is not dependencies.upstream else None,
                        self.month,
                        self.prices,
                    )
                )
                streams["model"] = lambda: asyncio.open_unix_connection(str(socket))
            if self.network.hosts:
                way_out = dependencies.listener.private_socket(f"{self._name}.egress")
                placeholders = self.secrets.placeholders
                authority = Authority(self._folder) if placeholders else None
                self._egress = EgressProxy(
                    self.network, dependencies.outbound, output.connected, placeholders, authority
                )
                assignment = replace(assignment, authority=authority.pem if authority else None)
                await self._egress.listen(way_out)
                stack.push_async_callback(self._egress.close)
                streams["egress"] = lambda: asyncio.open_unix_connection(str(way_out))
            session = WorkerSession(
                assignment,
                inbox=inbox,
                on_frames=self._heard(output),
                on_checkpoint=self._keep_checkpoint,
                bundle=bundle,
                checkpoint=checkpoint,
                streams=streams,
                max_blob_bytes=dependencies.settings.max_result_mib * 1024 * 1024,
            )
            await stack.enter_async_context(dependencies.listener.attended(session))
            stack.enter_context(messages.delivered_to(session))
            instance = await dependencies.provider.launch(self._spec(session, assignment))
            self.handle, self.session = instance.handle, session
            self._launched.set()
            async with self._attended(session):
                try:
                    await self._attempt_log.record(Start(self.secrets.names))
                    return await self._end(session)
                finally:  # before anything else is waited for: its lease may be over
                    self.handle = self.session = None
                    if self._proxy is not None:
                        self._proxy.revoke()
                    await dependencies.provider.terminate(self._name)

    def _heard(self, output: AttemptOutput) -> Callable[[int, list[dict[str, Any]]], Awaitable[None]]:
        """Records what the agent asks, stores output, and notes when there was some."""

        async def store(first: int, frames: list[dict[str, Any]]) -> None:
            self._heard_at = asyncio.get_running_loop().time()
            await self._permissions.record(frames)
            await output.store(first, frames)

        return store

    async def _keep_checkpoint(self, checkpoint: CheckpointSent, archive: Path) -> None:
        objects = self._dependencies.runtime.objects
        kept = await checkpoint_store.keep(objects, self._assigned.org, checkpoint, archive)
        await self._attempt_log.record(Start(), kept)

    async def used(self) -> Measured:
        """Measured outside the sandbox, from its launch until now."""
        await self._launched.wait()
        model = self._proxy.usage() if self._proxy is not None else ModelUsage()
        measured = await self._dependencies.provider.measure(self._name)
        return self._window.measured(
            billed_time.used(
                self._assigned.limits,
                0 if self._dependencies.own_compute else measured.wall_ms,
                model=model.cumulative,
                egress_bytes=self._egress.bytes if self._egress is not None else 0,
            ),
            model,
        )

    @property
    def time_left(self) -> float:
        """Seconds until the attempt's deadline."""
        deadline = parse_timestamp(self._assigned.deadline)
        return max(0.0, (deadline - self._dependencies.runtime.clock()).total_seconds())

    def _spec(self, session: WorkerSession, assignment: Assignment) -> LaunchSpec:
        allowed = self._assigned.limits
        return LaunchSpec(
            name=self._name,
            limits=SandboxLimits(
                vcpu_millis=allowed.vcpu_millis,
                memory_mib=allowed.memory_mib,
                duration_s=self.time_left + AFTER_STOP_S,
            ),
            transport=self._dependencies.transport,
            image=self.image,
            env={"RCLAUDE_WORKER_TOKEN": session.token, "TRACEPARENT": assignment.traceparent or ""},
            labels={"task": self._assigned.task, "attempt": str(self._assigned.attempt)},
        )

    @contextlib.asynccontextmanager
    async def _attended(self, session: WorkerSession) -> AsyncIterator[None]:
        """While the sandbox runs: renew its lease, record what it uses, end it at its deadline."""
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(self.time_left, self._stopping.stop, "timed_out")

        async def every(seconds: float) -> bool:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await over.wait()
            return not over.is_set()

        async def renew() -> None:
            while await every(self._lease.seconds / 3):
                if (seconds := self._lease.to_pass_on) > 0:
                    await session.renew(seconds)

        async def sample() -> None:
            while await every(self._dependencies.settings.sample_s):
                await self._recorder.record()

        async def watch(longest: float) -> None:
            self._heard_at = loop.time()
            while await every(longest / 4):
                if self._permissions:  # a person is slow to answer
                    self._heard_at = loop.time()
                if loop.time() - self._heard_at > longest:
                    self._stopping.stop("silent")

        attending = [asyncio.create_task(renew()), asyncio.create_task(sample())]
        if (longest := self._dependencies.settings.silent_after_s) > 0:
            attending.append(asyncio.create_task(watch(longest)))
        attending[1].add_done_callback(
            lambda done: self._stopping.stop("revoked") if done.exception() else None
        )
        try:
            yield
        finally:
            deadline.cancel()
            over.set()  # not cancelled: an append in flight must be known to have landed
            for outcome in await asyncio.gather(*attending, return_exceptions=True):
                if isinstance(outcome, Exception):
                    raise outcome

    async def _end(self, session: WorkerSession) -> AttemptEnd:
        """Wait for the first of: the worker's result, the end of its sandbox, a reason to stop."""
        gone = asyncio.create_task(self._dependencies.provider.wait(self._name))
        try:
            await first_of(session.result, gone, self._stopping.wait())
            if self._stopping.reason is not None and not session.result.done():
                await session.stop(self._stopping.reason)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AFTER_STOP_S):
                        await first_of(session.result, gone)
            if gone.done() and not session.result.done():
                await asyncio.wait([session.result], timeout=AFTER_EXIT_S)
            failure = self._proxy.failure if self._proxy is not None else None
            agent = self._assigned.agent
            return judge(self._name, session, gone, self._stopping.reason, failure, self.image, agent)
        finally:
            gone.cancel()
