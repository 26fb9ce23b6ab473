"""One attempt, from its assignment to its last event: prepare the source, run the sandbox, keep the result."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from msgspec.structs import replace

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased
from remote_claude.access.policy import read_policy
from remote_claude.access.vault import read_vault
from remote_claude.contracts.base import Sealed
from remote_claude.contracts.budgets import MonthRequest
from remote_claude.contracts.contexts import (
    attempt_checks_context,
    attempt_detail_context,
    attempt_summary_context,
)
from remote_claude.contracts.gateway import PermissionAnswered, TaskMessageSent, TaskSubmitted
from remote_claude.contracts.leases import HeldAttempt
from remote_claude.contracts.runner import AttemptOutcome
from remote_claude.contracts.scheduler import TaskAssigned
from remote_claude.eventsourcing import traces
from remote_claude.outbound.hosts import NONE
from remote_claude.runner.domain.attempt import Finish
from remote_claude.runner.egress import NetworkPolicy
from remote_claude.runner.execution import checkpoint_store, continuing, remote_source, results
from remote_claude.runner.execution.attempt_output import AttemptOutput
from remote_claude.runner.execution.attempt_secrets import release, upstream
from remote_claude.runner.execution.dependencies import ExecutionDependencies
from remote_claude.runner.execution.sandbox_run import SandboxRun
from remote_claude.runner.execution.source import (
    RequestedTask,
    Unstartable,
    agent_options,
    fetch_repository,
    read_submission,
)
from remote_claude.runner.execution.task_messages import Messages
from remote_claude.runner.execution.verdict import AttemptEnd
from remote_claude.runner.forges.client import ForgeFailed
from remote_claude.runner.forges.feedback import VARIABLE as FEEDBACK
from remote_claude.runner.forges.feedback import read_feedback
from remote_claude.runner.handlers import AttemptLog, Superseded
from remote_claude.runner.leases.lease import Lease
from remote_claude.runner.lineage import lineage, with_repository
from remote_claude.runner.model_proxy.budget import Budget, of_task
from remote_claude.runner.model_proxy.month import Month
from remote_claude.runner.model_proxy.published_prices import read_model_prices
from remote_claude.runner.providers import ImageUnusable, ProviderError
from remote_claude.runner.sessions import WorkerResult, WorkerSession
from remote_claude.runner.stopping import OUTCOME_OF_STOP, Stopping, StopReason
from remote_claude.runtime.objects import ObjectNotFound
from remote_claude.runtime.telemetry.tracing import Span
from remote_claude.worker.protocol import frames
from remote_claude.worker.protocol.messages import Assignment

log = structlog.get_logger(__name__)

MAX_DETAIL = 1000
"""Characters of the sentence that says why an attempt ended."""


class SandboxedExecution:
    """One attempt in a sandbox of its own."""

    def __init__(
        self,
        dependencies: ExecutionDependencies,
        assigned: TaskAssigned,
        attempt_log: AttemptLog,
        lease: Lease,
        on_end: Callable[[SandboxedExecution], None],
    ) -> None:
        self._on_end = on_end
        self._dependencies, self._assigned, self._lease = dependencies, assigned, lease
        self._attempt_log = attempt_log
        self._held = HeldAttempt(org=assigned.org, task=assigned.task, attempt=assigned.attempt)
        self._name = f"{assigned.task}-{assigned.attempt}"
        self._folder = dependencies.folder / self._name
        self._stopping = Stopping()
        self._messages = Messages(dependencies.runtime.keyring)
        self._early: list[TaskMessageSent | PermissionAnswered] = []
        """Messages that arrived while the log was read for earlier ones."""
        self._reading_done = False
        self._sandbox = SandboxRun(dependencies, assigned, attempt_log, lease, self._stopping, self._folder)

    @property
    def handle(self) -> str | None:
        """The provider's name of the sandbox, while there is one."""
        return self._sandbox.handle

    def is_of(self, org: str, task: str) -> bool:
        """Whether it is an attempt of this task."""
        return (self._assigned.org, self._assigned.task) == (org, task)

    @property
    def session(self) -> WorkerSession | None:
        """The session with its worker, while there is one."""
        return self._sandbox.session

    def stop(self, reason: StopReason) -> None:
        """End it; the first reason counts."""
        self._stopping.stop(reason)

    def message(self, event: TaskMessageSent | PermissionAnswered) -> None:
        """A person's message to the task, or answer to its agent."""
        if self._reading_done:
            self._messages.add(event)
        else:
            self._early.append(event)

    async def run(self) -> None:
        """From the assignment to the last event. What can't be recorded any more, another runner records."""
        attempt_log = self._attempt_log
        with self._dependencies.runtime.tracing.span(
            "runner", "attempt", attempt_log.traceparent, f"{attempt_log.cause}/attempt", **self._traced
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
            await self._attempt_log.record(finish)
        except Superseded as error:
            log.warning("another runner has taken this attempt", attempt=self._name, detail=str(error))
        except Exception as error:
            span.error = type(error).__name__
            log.exception("an attempt is given back: this runner failed", attempt=self._name)
            await self._attempt_log.record(Finish(outcome="lost", reason="runner_failed"))

    async def _attempt(self) -> Finish:
        self._lease.want()  # while the source is fetched
        try:
            submission = await read_submission(self._dependencies.runtime, self._assigned)
            if submission.cancelled:
                self.stop("cancelled")
            vault = await read_vault(self._dependencies.runtime.log, self._assigned.org)
            self._sandbox.secrets = await release(self._dependencies.runtime, vault, submission.submitted)
            self._sandbox.upstream = await upstream(
                self._dependencies.runtime,
                vault,
                submission.submitted,
                self._dependencies.upstream_of(self._assigned.org),
            )
            limits = remote_source.SourceLimits(
                size=self._dependencies.settings.max_source_mib * 1024 * 1024, seconds=self._sandbox.time_left
            )
            line = await lineage(self._dependencies.runtime.log, submission.submitted)
            feedback = await self._feedback(submission.submitted, line)
            options = await agent_options(self._dependencies.runtime, line)
            bundle = await self._stopping.unless_stopped(
                fetch_repository(
                    self._dependencies.runtime,
                    with_repository(line),
                    self._folder / "source.bundle",
                    limits=limits,
                    allowed=self._dependencies.outbound,
                )
            )
        except Unstartable as error:
            if self._sandbox.time_left > 0:
                log.info("an attempt can't start", attempt=self._name, code=error.code, detail=str(error))
                return await self._never_started("failed", error.code, str(error))
            self.stop("timed_out")
            return self._stopped("timed_out")
        checkpoint, continues = await self._checkpoint(submission, line)
        self._sandbox.image = submission.submitted.image
        self._sandbox.network = self._network(submission.submitted)
        self._sandbox.budget = await self._budget(submission.submitted)
        policy = await read_policy(self._dependencies.runtime.log, self._assigned.org)
        self._sandbox.models = policy.rules.models if policy.rules is not None else ()
        if self._sandbox.upstream is not None:
            self._sandbox.prices = await read_model_prices(self._dependencies.runtime.log)
        user, team = submission.submitted.user, submission.submitted.team
        if (model := self._sandbox.upstream) is not None:
            whose = MonthRequest(org=self._assigned.org, user=user, team=team)
            reserved = submission.submitted.budget_nano_usd is not None
            by_plan = model.terms.paid_by == "operator" and not reserved
            self._sandbox.month = Month(self._dependencies.runtime.nats, whose, by_plan=by_plan)
        await self._lease.cover(self._held, unless=self._stopping.event)
        if (reason := self._stopping.reason) is not None:
            return self._stopped(reason)
        access = self._sandbox.upstream.access if self._sandbox.upstream is not None else None
        assignment = Assignment(
            task=self._assigned.task,
            attempt=self._assigned.attempt,
            agent=self._assigned.agent,
            prompt=_with_feedback(submission.prompt, feedback, self._assigned.agent),
            continues=continues,
            model=submission.submitted.model or (access.model if access else None),
            model_api=access.provider if access else "anthropic",
            model_region=access.region if access else None,
            model_project=access.project if access else None,
            permission_mode=submission.submitted.permission_mode or "all",
            agent_options=options,
            lease_s=self._lease.to_pass_on,
            branch=f"rclaude/{self._assigned.task}",
            environment=dict(self._sandbox.secrets.environment) | ({FEEDBACK: feedback} if feedback else {}),
            patch_only=submission.submitted.patch_only,
            max_result_bytes=self._dependencies.settings.max_result_mib * 1024 * 1024,
        )
        if submission.author is not None:
            name, email = submission.author["name"], submission.author["email"]
            assignment = replace(assignment, author_name=name, author_email=email)
        # A worker may have no network: its span is made here, from what is seen of it.
        with self._dependencies.runtime.tracing.span(
            "worker", "worker", traces.current.get(), f"{self._attempt_log.cause}/worker", **self._traced
        ) as span:
            assignment = replace(assignment, traceparent=span.traceparent)
            finish = await self._in_sandbox(assignment, bundle, checkpoint)
            span.attributes["rclaude.agent"] = assignment.agent
            if finish.exit_code is not None:
                span.attributes["process.exit.code"] = finish.exit_code
            if finish.outcome != "succeeded":
                span.error = finish.reason or finish.outcome
            return finish

    def _stopped(self, reason: StopReason) -> Finish:
        """Before its sandbox was launched."""
        reason = self._stopping.reason or reason
        return Finish(outcome=OUTCOME_OF_STOP[reason], reason=reason)

    async def _feedback(self, submitted: TaskSubmitted, line: Sequence[TaskSubmitted]) -> str | None:
        """What the pull request asks for, if the task is about that. Raises `Unstartable`."""
        if not submitted.feedback:
            return None
        try:
            return await read_feedback(self._dependencies.runtime, line)
        except (ForgeFailed, KeyErased, KeyUnusable) as error:
            raise Unstartable(error.code, str(error)) from error

    async def _checkpoint(
        self, submission: RequestedTask, line: Sequence[TaskSubmitted]
    ) -> tuple[Path | None, bool]:
        """The last checkpoint in a file, and whether it is of an earlier task; and the messages from there on."""
        runtime, org = self._dependencies.runtime, self._assigned.org
        target: Path | None = None
        saved = await continuing.start(runtime.log, line, self._assigned.attempt)
        if saved is not None:
            try:
                target = self._folder / "checkpoint.tar"
                manifest = await checkpoint_store.fetch(runtime.objects, org, saved.checkpoint, target)
                if not saved.of_earlier_task:
                    self._messages.skip(manifest.messages)
            except (ObjectNotFound, OSError, ValueError) as error:
                log.error("a checkpoint can't be read", attempt=self._name, detail=repr(error))
                target = None
        uploaded = line[0].checkpoint if saved is None else None
        if uploaded is not None:
            target = self._folder / "checkpoint.tar"
            try:
                await checkpoint_store.fetch_uploaded(runtime.objects, org, uploaded, target)
            except (ObjectNotFound, OSError) as error:
                log.error("an uploaded checkpoint can't be read", attempt=self._name, detail=repr(error))
                target = None
        for event in (*submission.messages, *self._early):
            self._messages.add(event)
        self._reading_done = True
        return target, uploaded is not None or (saved is not None and saved.of_earlier_task)

    def _network(self, submitted: TaskSubmitted) -> NetworkPolicy:
        """What the task asks for and the hosts of its secrets, unless there is no network."""
        default = self._dependencies.settings.network
        requested = default if default == NONE else submitted.network or default
        policy = NetworkPolicy.parse(requested)
        if requested == NONE:
            return policy
        return policy.also(host for one in self._sandbox.secrets.placeholders for host in one.hosts)

    async def _budget(self, submitted: TaskSubmitted) -> Budget | None:
        if (limit := submitted.budget_nano_usd) is None:
            return None
        who = self._assigned
        return await of_task(self._dependencies.runtime.log, who.org, who.task, who.attempt, limit)

    async def _in_sandbox(
        self, assignment: Assignment, bundle: Path | None, checkpoint: Path | None
    ) -> Finish:
        runtime, org, output = self._dependencies.runtime, self._assigned.org, self._output()
        try:
            ended = await self._sandbox.run(
                assignment, output, bundle=bundle, checkpoint=checkpoint, messages=self._messages
            )
        except ImageUnusable as error:
            return await self._never_started("failed", error.code, str(error))
        except ProviderError as error:
            log.error("no sandbox", attempt=self._name, code=error.code, detail=str(error))
            return await self._never_started("lost", error.code, str(error))
        used = await self._sandbox.used()
        try:
            result = (
                await results.keep(runtime.objects, org, ended.result) if ended.result is not None else None
            )
            sealed = await output.seal(runtime.objects, org)
        except Exception:
            log.exception("an attempt is given back: what it left can't be kept", attempt=self._name)
            return Finish(outcome="lost", reason="runner_failed", used=used)
        return Finish(
            outcome=ended.outcome,
            reason=ended.reason,
            detail=await self._sealed(self._explained(ended)),
            summary=await self._sealed_text(
                ended.result.written if ended.result else "", attempt_summary_context
            ),
            checks=await self._sealed_text(_checks(ended.result), attempt_checks_context),
            exit_code=ended.exit_code,
            used=used,
            result=result,
            output=sealed,
        )

    def _explained(self, ended: AttemptEnd) -> str | None:
        """Why it ended, and which messages nobody has read."""
        taken = ended.result.messages if ended.result is not None else None
        parts = [ended.detail, self._messages.not_taken(taken)]
        return "; ".join(part for part in parts if part) or None

    async def _never_started(self, outcome: AttemptOutcome, reason: str, why: str) -> Finish:
        """Without a sandbox: the reason is all of its output."""
        output = self._output()
        await output.store(1, [frames.plain(frames.ResultFrame(outcome="failed", reason=reason, text=why))])
        sealed = await output.seal(self._dependencies.runtime.objects, self._assigned.org)
        return Finish(outcome=outcome, reason=reason, detail=await self._sealed(why), output=sealed)

    async def _sealed(self, detail: str | None) -> Sealed | None:
        """The sentence that ends the attempt, readable by its organisation; None once its key is erased."""
        if detail is None:
            return None
        return await self._sealed_text(detail[:MAX_DETAIL], attempt_detail_context)

    async def _sealed_text(self, text: str, context: Callable[[str, int], str]) -> Sealed | None:
        """Readable by the organisation; None for nothing, or once its key is erased."""
        if not text:
            return None
        try:
            key = await self._dependencies.runtime.keyring.get(self._assigned.org)
        except (KeyErased, KeyUnusable):
            return None
        return key.seal(text, context(self._assigned.task, self._assigned.attempt))

    def _output(self) -> AttemptOutput:
        assigned = self._assigned
        return AttemptOutput(
            self._dependencies.runtime.output.writer(assigned.org, assigned.task, assigned.attempt),
            self._folder / "output.jsonl",
            on_fenced=lambda: self.stop("revoked"),
            on_full=lambda: self.stop("output_too_large"),
            max_bytes=self._dependencies.settings.max_output_mib * 1024 * 1024,
        )


def _checks(result: WorkerResult | None) -> str:
    """As JSON; empty without checks."""
    return json.dumps(result.checks) if result is not None and result.checks else ""


def _with_feedback(prompt: str, feedback: str | None, agent: str) -> str:
    """The prompt of the agent `shell` is a command: it has the feedback in its environment only."""
    return f"{prompt}\n\n{feedback}" if feedback and agent != "shell" else prompt
