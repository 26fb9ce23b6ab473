"""One attempt, from its assignment to its last event: source, sandbox, output, metering, result."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased
from remote_claude.contracts.base import Sealed
from remote_claude.contracts.contexts import (
    attempt_detail_context,
    prompt_context,
    repository_ref_context,
    repository_url_context,
)
from remote_claude.contracts.gateway import (
    BundleRepository,
    RemoteRepository,
    TaskCancellationRequested,
    TaskSubmitted,
)
from remote_claude.contracts.leases import HeldAttempt
from remote_claude.contracts.runner import AttemptOutcome, Result
from remote_claude.contracts.scheduler import TaskAssigned
from remote_claude.eventsourcing import traces
from remote_claude.eventsourcing.events import parse_timestamp, stream_id
from remote_claude.runner import frames, metering, sources, wire, worker
from remote_claude.runner.domain.attempt import Finish, Measured, Start
from remote_claude.runner.endings import OUTCOME_OF_STOP, Ended, StopReason, judge
from remote_claude.runner.journal import Journal, Superseded
from remote_claude.runner.lease import Lease
from remote_claude.runner.metering import UsageRecorder, Window
from remote_claude.runner.model_proxy import ModelProxy, ModelUsage, Upstream
from remote_claude.runner.model_proxy.policy import Policy
from remote_claude.runner.output import Output
from remote_claude.runner.protocol import GRACE_S, Task
from remote_claude.runner.providers.base import ComputeProvider, LaunchSpec, Limits, ProviderError
from remote_claude.runner.settings import RunnerSettings
from remote_claude.runner.sources import SourceFailed
from remote_claude.runner.worker_link import WorkerLink, WorkerResult
from remote_claude.runtime.objects import ObjectNotFound
from remote_claude.runtime.service import Runtime
from remote_claude.runtime.telemetry.tracing import Span

log = structlog.get_logger(__name__)

SOCKETS = "sockets"
"""In an attempt's folder: a link to where its sockets are."""

AFTER_STOP_S = GRACE_S + 5.0
"""How long a worker that was asked to stop may take to say what came of it."""
MAX_DETAIL = 1000
"""Characters of the sentence that says why an attempt ended."""
AFTER_EXIT_S = 1.0
"""How long the last words of a sandbox that has ended may be on their way."""


def clear_away(attempts: Path) -> None:
    """What the attempts of an earlier life, killed in the middle of them, have left on this machine."""
    for folder in attempts.glob("*"):
        sockets = folder / SOCKETS
        if sockets.is_symlink() and sockets.exists() and sockets.stat().st_uid == os.geteuid():
            shutil.rmtree(sockets.readlink())
        shutil.rmtree(folder)


@dataclass(frozen=True, slots=True)
class Workshop:
    """What every execution of a runner works with."""

    runtime: Runtime
    settings: RunnerSettings
    provider: ComputeProvider
    upstream: Upstream | None
    """The model, for those that have a key to it."""
    folder: Path
    """Where attempts keep their files while they run."""


class Unstartable(Exception):
    """The attempt can't begin, and would not another time: `code` says why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class SandboxedExecution:
    """One attempt in a sandbox of its own."""

    def __init__(
        self,
        workshop: Workshop,
        assigned: TaskAssigned,
        journal: Journal,
        lease: Lease,
        on_end: Callable[[SandboxedExecution], None],
    ) -> None:
        self._on_end = on_end
        self._shop, self._assigned, self._journal, self._lease = workshop, assigned, journal, lease
        self._held = HeldAttempt(org=assigned.org, task=assigned.task, attempt=assigned.attempt)
        self._name = f"{assigned.task}-{assigned.attempt}"
        self._folder = workshop.folder / self._name
        self._stop_reason: StopReason | None = None
        self._stopped = asyncio.Event()
        self.pid: int | None = None
        """The host's number of the sandbox's first process, while there is one."""

    def stop(self, reason: StopReason) -> None:
        """End it; the first reason counts."""
        if self._stop_reason is None:
            self._stop_reason = reason
            self._stopped.set()

    async def run(self) -> None:
        """From the assignment to the last event. What can't be said any more is said by another runner."""
        journal = self._journal
        with self._shop.runtime.tracing.span(
            "runner", "attempt", journal.traceparent, f"{journal.cause}/attempt", **self._traced
        ) as span:
            await self._run(span)

    @property
    def _traced(self) -> dict[str, str | int]:
        return {"rclaude.task": self._assigned.task, "rclaude.attempt": self._assigned.attempt}

    async def _run(self, span: Span) -> None:
        try:
            try:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                finish = await self._attempt()
            finally:  # before it is over for the scheduler: another one may have its slot then
                self._on_end(self)
                await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
            span.attributes["rclaude.outcome"] = finish.outcome
            await self._journal.say(finish)
        except Superseded as error:
            log.warning("this attempt is another runner's by now", attempt=self._name, detail=str(error))
        except Exception as error:
            span.error = type(error).__name__
            log.exception(
                "an attempt is given back: this runner could not see it through", attempt=self._name
            )
            await self._journal.say(Finish(outcome="lost", reason="runner_failed"))

    async def _attempt(self) -> Finish:
        self._lease.want()  # while the source is fetched
        try:
            submitted = await self._submission()
            prompt = await self._open(submitted)
            bundle = await self._unless_stopped(self._source(submitted))
        except Unstartable as error:
            log.info("an attempt can't begin", attempt=self._name, code=error.code, detail=str(error))
            return await self._never_began("failed", error.code, str(error))
        await self._lease.cover(self._held, unless=self._stopped)
        if self._stop_reason is not None:
            return Finish(outcome=OUTCOME_OF_STOP[self._stop_reason], reason=self._stop_reason)
        task = Task(
            task=self._assigned.task,
            attempt=self._assigned.attempt,
            agent=self._assigned.agent,
            prompt=prompt,
            lease_s=self._lease.to_pass_on,
            branch=f"rclaude/{self._assigned.task}",
        )
        # It has no network, so its span is made out here, of what is seen of it.
        with self._shop.runtime.tracing.span(
            "worker", "worker", traces.current.get(), f"{self._journal.cause}/worker", **self._traced
        ) as span:
            finish = await self._sandboxed(replace(task, traceparent=span.traceparent), bundle)
            span.attributes["rclaude.agent"] = task.agent
            if finish.exit_code is not None:
                span.attributes["process.exit.code"] = finish.exit_code
            if finish.outcome != "succeeded":
                span.error = finish.reason or finish.outcome
            return finish

    async def _never_began(self, outcome: AttemptOutcome, reason: str, why: str) -> Finish:
        """Without a sandbox: the reason is all of its output."""
        output = self._output()
        await output.store(1, [wire.plain(frames.Result(outcome="failed", reason=reason, text=why))])
        sealed = await output.seal(self._shop.runtime.objects, self._assigned.org)
        return Finish(outcome=outcome, reason=reason, detail=await self._sealed(why), output=sealed)

    async def _sealed(self, detail: str | None) -> Sealed | None:
        """The sentence that ends the attempt, for the organisation's eyes; None once its key is erased."""
        if detail is None:
            return None
        try:
            key = await self._shop.runtime.keyring.get(self._assigned.org)
        except (KeyErased, KeyUnusable):
            return None
        context = attempt_detail_context(self._assigned.task, self._assigned.attempt)
        return key.seal(detail[:MAX_DETAIL], context)

    def _output(self) -> Output:
        assigned = self._assigned
        return Output(
            self._shop.runtime.output.writer(assigned.org, assigned.task, assigned.attempt),
            self._folder / "output.jsonl",
            on_fenced=lambda: self.stop("revoked"),
            on_full=lambda: self.stop("output_too_large"),
            max_bytes=self._shop.settings.max_output_mib * 1024 * 1024,
        )

    async def _submission(self) -> TaskSubmitted:
        stream = stream_id("gateway", self._assigned.org, "task", self._assigned.task)
        history = [recorded.event for recorded in await self._shop.runtime.log.read_stream(stream)]
        if any(isinstance(event, TaskCancellationRequested) for event in history):
            self.stop("cancelled")
        submitted: TaskSubmitted = history[0]
        return submitted

    async def _open(self, submitted: TaskSubmitted) -> str:
        try:
            return await self._shop.runtime.keyring.open(submitted.prompt, prompt_context(submitted.task))
        except (KeyErased, KeyUnusable) as error:
            raise Unstartable(error.code, str(error)) from error

    async def _source(self, submitted: TaskSubmitted) -> Path | None:
        """The repository as a bundle on this machine: fetched out here, since the sandbox has no network."""
        keyring, objects = self._shop.runtime.keyring, self._shop.runtime.objects
        target = self._folder / "source.bundle"
        match submitted.repository:
            case None:
                return None
            case BundleRepository(sha256=sha256):
                try:
                    with target.open("wb") as file:
                        async for piece in objects.stream(submitted.org, sha256):
                            file.write(piece)
                except ObjectNotFound as error:
                    raise Unstartable("bundle_not_found", f"no bundle {sha256}") from error
            case RemoteRepository(url=url, ref=ref):
                limits = sources.Limits(
                    size=self._shop.settings.max_source_mib * 1024 * 1024, seconds=self._time_left()
                )
                try:
                    opened = await keyring.open(url, repository_url_context(submitted.task))
                    at = await keyring.open(ref, repository_ref_context(submitted.task)) if ref else None
                    await sources.fetch(opened, at, target, limits=limits)
                except (KeyErased, KeyUnusable, SourceFailed) as error:
                    if self._time_left() == 0:
                        self.stop("timed_out")
                        return None
                    raise Unstartable(error.code, str(error)) from error
        return target

    async def _unless_stopped(self, work: Coroutine[Any, Any, Path | None]) -> Path | None:
        """What the work comes to; None when the attempt is stopped first, and the work with it."""
        working, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            working.cancel()
            stopped.cancel()
            await asyncio.wait((working, stopped))

    async def _sandboxed(self, task: Task, bundle: Path | None) -> Finish:
        runtime, settings = self._shop.runtime, self._shop.settings
        output = self._output()
        inbox = self._folder / "inbox"
        inbox.mkdir(mode=0o700)
        window = Window(runtime.clock)
        proxy: ModelProxy | None = None
        launched = asyncio.Event()

        async def measure() -> Measured:
            await launched.wait()
            model = proxy.usage() if proxy is not None else ModelUsage()
            measured = await self._shop.provider.measure(self._name)
            used = metering.used(self._assigned.limits, measured.wall_ms, model=model.cumulative)
            return window.measured(used, model)

        recorder = UsageRecorder(self._journal, measure)
        async with contextlib.AsyncExitStack() as stack:
            # Not below the home, whose path may be longer than the path of a socket can be.
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rclaude-")))
            (self._folder / SOCKETS).symlink_to(place)
            sockets = {"runner": place / "runner.sock"}
            if self._shop.upstream is not None:
                sockets["model"] = place / "model.sock"
                proxy = await stack.enter_async_context(
                    ModelProxy(
                        sockets["model"], self._shop.upstream, recorder.record, Policy(settings.model_allow)
                    )
                )
            link = await stack.enter_async_context(
                WorkerLink(
                    sockets["runner"],
                    task=task,
                    inbox=inbox,
                    on_frames=output.store,
                    bundle=bundle,
                    max_blob_bytes=settings.max_result_mib * 1024 * 1024,
                )
            )
            spec = LaunchSpec(
                name=self._name,
                argv=worker.COMMAND,
                limits=self._limits(),
                sockets=sockets,
                env={"RCLAUDE_WORKER_TOKEN": link.token, "TRACEPARENT": task.traceparent or ""},
            )
            try:
                instance = await self._shop.provider.launch(spec)
            except ProviderError as error:
                log.error("no sandbox", attempt=self._name, code=error.code, detail=str(error))
                return await self._never_began("lost", error.code, str(error))
            self.pid = instance.pid
            launched.set()
            async with self._attended(link, recorder):
                try:
                    await self._journal.say(Start())
                    ended = await self._end(link, proxy)
                finally:  # before anything else is waited for: its lease may be over
                    self.pid = None
                    if proxy is not None:
                        proxy.revoke()
                    await self._shop.provider.terminate(self._name)
            used = await measure()
        try:
            result = await self._keep(ended.said) if ended.said is not None else None
            sealed = await output.seal(runtime.objects, self._assigned.org)
        except Exception:
            log.exception("an attempt is given back: what it left can't be kept", attempt=self._name)
            return Finish(outcome="lost", reason="runner_failed", used=used)
        return Finish(
            outcome=ended.outcome,
            reason=ended.reason,
            detail=await self._sealed(ended.detail),
            exit_code=ended.exit_code,
            used=used,
            result=result,
            output=sealed,
        )

    def _limits(self) -> Limits:
        allowed = self._assigned.limits
        return Limits(
            vcpu_millis=allowed.vcpu_millis,
            memory_mib=allowed.memory_mib,
            duration_s=self._time_left() + AFTER_STOP_S,
        )

    def _time_left(self) -> float:
        deadline = parse_timestamp(self._assigned.deadline)
        return max(0.0, (deadline - self._shop.runtime.clock()).total_seconds())

    @contextlib.asynccontextmanager
    async def _attended(self, link: WorkerLink, recorder: UsageRecorder) -> AsyncIterator[None]:
        """While the sandbox runs: renew its lease, record what it uses, end it at its deadline."""
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(self._time_left(), self.stop, "timed_out")

        async def every(seconds: float) -> bool:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await over.wait()
            return not over.is_set()

        async def renew() -> None:
            while await every(self._lease.seconds / 3):
                if (seconds := self._lease.to_pass_on) > 0:
                    await link.renew(seconds)

        async def sample() -> None:
            while await every(self._shop.settings.sample_s):
                await recorder.record()

        attending = [asyncio.create_task(renew()), asyncio.create_task(sample())]
        attending[1].add_done_callback(lambda done: self.stop("revoked") if done.exception() else None)
        try:
            yield
        finally:
            deadline.cancel()
            over.set()  # not cancelled: an append on its way must be known to have landed
            for outcome in await asyncio.gather(*attending, return_exceptions=True):
                if isinstance(outcome, Exception):
                    raise outcome

    async def _end(self, link: WorkerLink, proxy: ModelProxy | None) -> Ended:
        """Wait for whichever comes first: what the worker says, the end of its sandbox, or a reason to stop."""
        gone = asyncio.create_task(self._shop.provider.wait(self._name))
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            first: list[asyncio.Future[Any]] = [link.result, gone, stopped]
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if self._stop_reason is not None and not link.result.done():
                await link.stop(self._stop_reason)
                await asyncio.wait(first[:2], timeout=AFTER_STOP_S, return_when=asyncio.FIRST_COMPLETED)
            if gone.done() and not link.result.done():
                await asyncio.wait([link.result], timeout=AFTER_EXIT_S)
            failure = proxy.failure if proxy is not None else None
            return judge(self._name, link, gone, self._stop_reason, failure)
        finally:
            stopped.cancel()
            gone.cancel()

    async def _keep(self, said: WorkerResult) -> Result:
        """Put the worker's files where they outlive it."""
        objects, org = self._shop.runtime.objects, self._assigned.org
        return Result(
            base=said.base,
            sent=said.sent,
            commit=said.commit,
            bundle=await objects.put_file(org, said.bundle) if said.bundle else None,
            patch=await objects.put_file(org, said.patch) if said.patch else None,
        )
