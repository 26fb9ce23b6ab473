"""Commands on tasks and on webhooks."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

import structlog
import uuid_utils

from remote_claude.access.keyring import Keyring
from remote_claude.contracts.contexts import webhook_secret_context, webhook_url_context
from remote_claude.contracts.gateway import RemoteRepository, TaskMessageSent, WebhookReplayRequested
from remote_claude.eventsourcing import (
    Clock,
    CommandHandler,
    Decider,
    EventLog,
    LogUnavailable,
    NewEventId,
    new_event_id,
    stream_id,
)
from remote_claude.eventsourcing.traces import correlation
from remote_claude.gateway.domain import task as domain
from remote_claude.gateway.domain import webhooks
from remote_claude.gateway.domain.lifecycle import PullRequest, TaskProgress
from remote_claude.gateway.domain.refusals import (
    NoPullRequest,
    NotKnownToBeRecorded,
    PermissionNotAsked,
    PullRequestNeedsUrl,
    TaskAlreadyFinished,
)
from remote_claude.gateway.domain.task import (
    AnswerPermission,
    RequestCancellation,
    RequestPullRequest,
    SendMessage,
    SubmitTask,
)
from remote_claude.gateway.log_waits import while_moving
from remote_claude.gateway.projections.queries import TaskQueries

TASK = Decider(domain.initial_state, domain.decide, domain.evolve)
WEBHOOK = Decider(webhooks.initial_state, webhooks.decide, webhooks.evolve)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the scheduler said of a submission. `code` and `detail` are set when it was rejected."""

    position: int
    code: str | None = None
    detail: str | None = None


class Decisions:
    """Those who wait for the scheduler's word on a task. Fed by the consumer of the log."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[Decision]]] = {}
        self.position = 0
        """Every decision up to here has reached the requests that waited for it."""

    @contextlib.contextmanager
    def expected(self, task: str) -> Iterator[asyncio.Future[Decision]]:
        """A future of the decision, if it comes from here on."""
        future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        futures = self._waiting.setdefault(task, set())
        futures.add(future)
        try:
            yield future
        finally:
            futures.discard(future)
            if not futures:
                self._waiting.pop(task, None)

    def resolve(self, task: str, decision: Decision) -> None:
        """Give a decision to the requests that wait for it."""
        for future in self._waiting.get(task, ()):
            if not future.done():
                future.set_result(decision)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionResult:
    """What became of a submission. `decision` is None when none was seen in time; the task is recorded all the same."""

    task: str
    position: int
    decision: Decision | None


class TaskHandlers:
    """Handles the commands of the task resource."""

    def __init__(
        self,
        log: EventLog,
        decisions: Decisions,
        queries: TaskQueries,
        clock: Clock,
        *,
        admission_wait_s: float,
        log_wait_s: float,
        event_id: NewEventId = lambda: str(uuid_utils.uuid7()),
    ) -> None:
        self._log, self._decisions, self._queries = log, decisions, queries
        self._handler = CommandHandler(log, clock, event_id)
        self._admission_wait_s, self._log_wait_s = admission_wait_s, log_wait_s

    async def submit(self, command: SubmitTask) -> SubmissionResult:
        """Record the task and wait for the scheduler's decision. The same submission again gets the same answer.

        Raises `IdempotencyKeyReused`, `NotKnownToBeRecorded`, `NotCaughtUp`.
        """
        correlation.set(command.task)
        stream = _stream(command)
        deadline = asyncio.get_running_loop().time() + self._admission_wait_s
        with self._decisions.expected(command.task) as decision:
            async with self._answering(command.task):
                handled = await self._handler.handle(TASK, stream, command, subject=command.task, new=True)
            position = handled.first_position
            if not handled.events and (decided := await self._decided_before(command, position)) is not None:
                return SubmissionResult(task=command.task, position=position, decision=decided)
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            await asyncio.wait([decision], timeout=left)
            return SubmissionResult(
                task=command.task, position=position, decision=decision.result() if decision.done() else None
            )

    async def is_submitted(self, org: str, task: str) -> bool:
        """Whether there is such a task already."""
        return bool(await self._log.read_stream(stream_id("gateway", org, "task", task)))

    async def request_cancellation(self, command: RequestCancellation) -> tuple[TaskProgress, int]:
        """Ask the scheduler to end the task. Returns the progress known so far, and the request's position.

        A task that was cancelled before is answered the same again. Raises `TaskNotFound`, `TaskAlreadyFinished`,
        `NotKnownToBeRecorded`.
        """
        correlation.set(command.task)
        stream = _stream(command)
        async with self._answering(command.task):
            state, position = await self._handler.load(TASK, stream)
        TASK.decide(command, state)  # there is such a task
        await self._queries.caught_up(max(position, self._decisions.position), self._admission_wait_s)
        row, _ = await self._queries.get(command.org, command.task)
        if row.progress.terminal:
            if row.progress.state != "cancelled":
                raise TaskAlreadyFinished(row.progress.state)
            return row.progress, row.progress.changed
        async with self._answering(command.task):
            handled = await self._handler.handle(TASK, stream, command, subject=command.task)
        return row.progress, handled.position

    async def send_message(self, command: SendMessage) -> tuple[int, int]:
        """Record a message to a task that has not ended. Returns its number and its position.

        Raises `TaskNotFound`, `TaskAlreadyFinished`, `NotKnownToBeRecorded`.
        """
        correlation.set(command.task)
        stream = _stream(command)
        async with self._answering(command.task):
            state, position = await self._handler.load(TASK, stream)
        TASK.decide(command, state)  # there is such a task
        await self._queries.caught_up(max(position, self._decisions.position), self._admission_wait_s)
        row, _ = await self._queries.get(command.org, command.task)
        if row.progress.terminal:
            raise TaskAlreadyFinished(row.progress.state)
        async with self._answering(command.task):
            handled = await self._handler.handle(TASK, stream, command, subject=command.task)
        sent: TaskMessageSent = handled.events[0]
        return sent.number, handled.position

    async def answer_permission(self, command: AnswerPermission) -> int:
        """Record the answer to a request that the agent waits for. Returns its position; the same answer again changes nothing.

        Raises `TaskNotFound`, `TaskAlreadyFinished`, `PermissionNotAsked`, `NotKnownToBeRecorded`.
        """
        correlation.set(command.task)
        stream = _stream(command)
        async with self._answering(command.task):
            state, position = await self._handler.load(TASK, stream)
        if TASK.decide(command, state):
            await self._queries.caught_up(max(position, self._decisions.position), self._admission_wait_s)
            row, _ = await self._queries.get(command.org, command.task)
            if row.progress.terminal:
                raise TaskAlreadyFinished(row.progress.state)
            if all(asked.request != command.request for asked in row.progress.permissions):
                raise PermissionNotAsked(command.task, command.request)
        async with self._answering(command.task):
            return (await self._handler.handle(TASK, stream, command, subject=command.task)).position

    async def request_pull_request(self, command: RequestPullRequest) -> tuple[PullRequest | None, int]:
        """Ask for the pull request of a task's result. Returns one that is open already, and the position to read at.

        Raises `TaskNotFound`, `NoPullRequest`, `PullRequestNeedsUrl`, `NotKnownToBeRecorded`.
        """
        correlation.set(command.task)
        stream = _stream(command)
        async with self._answering(command.task):
            state, position = await self._handler.load(TASK, stream)
        TASK.decide(command, state)  # there is such a task
        await self._queries.caught_up(max(position, self._decisions.position), self._admission_wait_s)
        row, as_of = await self._queries.get(command.org, command.task)
        known = row.progress.pull_request
        if known is not None and known.state == "opened":
            return known, as_of
        if row.progress.state != "succeeded":
            raise NoPullRequest(f"the task is {row.progress.state.replace('_', ' ')}")
        if not isinstance(row.repository, RemoteRepository):
            raise PullRequestNeedsUrl
        current = row.progress.get(row.progress.attempt)
        if current is None or current.result is None or current.result.commit is None:
            raise NoPullRequest("the task changed nothing, or left a patch only")
        command = replace(command, attempt=current.number)
        async with self._answering(command.task):
            handled = await self._handler.handle(TASK, stream, command, subject=command.task)
        return None, handled.position

    @contextlib.asynccontextmanager
    async def _answering(self, task: str) -> AsyncIterator[None]:
        """Wait for the log while it takes what others send. Raises `NotKnownToBeRecorded`."""
        try:
            async with while_moving(lambda: self._decisions.position, self._log_wait_s):
                yield
        except (TimeoutError, LogUnavailable) as error:
            log.warning("the event log gave no answer", task=task, detail=str(error) or "not in time")
            raise NotKnownToBeRecorded(task) from error

    async def _decided_before(self, command: SubmitTask, submitted: int) -> Decision | None:
        """The decision, if it was made before this request began to wait for it. Raises `NotCaughtUp`."""
        await self._queries.caught_up(max(submitted, self._decisions.position), self._admission_wait_s)
        row, _ = await self._queries.get(command.org, command.task)
        progress = row.progress
        if progress.decided is None:
            return None
        if progress.state == "rejected":
            return Decision(position=progress.decided, code=progress.reason, detail=progress.detail)
        return Decision(position=progress.decided)


def _stream(command: domain.Command) -> str:
    return stream_id("gateway", command.org, "task", command.task)


class WebhookHandlers:
    """Handles the commands on webhooks."""

    def __init__(
        self, log: EventLog, keyring: Keyring, clock: Clock, event_id: NewEventId = new_event_id
    ) -> None:
        self._keyring, self._handler = keyring, CommandHandler(log, clock, event_id)

    async def add(
        self, hook: str, org: str, url: str, format: webhooks.Format = "standard"
    ) -> tuple[str, int]:
        """Record a webhook under a new id. Returns its signing secret, and the position of its event.

        Raises `WebhookUrlRefused`, and `KeyErased` without the organisation's key.
        """
        webhooks.check_url(url)
        key = await self._keyring.get(org)
        secret = webhooks.secret_of(secrets.token_bytes(32))
        position = await self._handle(
            webhooks.AddWebhook(
                hook=hook,
                org=org,
                url=key.seal(url, webhook_url_context(hook)),
                secret=key.seal(secret, webhook_secret_context(hook)),
                format=format,
            )
        )
        return secret, position

    async def remove(self, hook: str, org: str) -> None:
        """Remove it: nothing is sent to it any more. Raises `WebhookNotFound`."""
        await self._handle(webhooks.RemoveWebhook(hook=hook, org=org))

    async def replay(self, requested: WebhookReplayRequested) -> int:
        """Record that the end of a task is posted once more. Returns the position. Raises `WebhookNotFound`."""
        return await self._handle(webhooks.ReplayDelivery(requested))

    async def _handle(self, command: webhooks.Command) -> int:
        about = command.requested if isinstance(command, webhooks.ReplayDelivery) else command
        try:
            stream = stream_id("gateway", about.org, "webhook", about.hook)
        except ValueError:
            raise webhooks.WebhookNotFound(about.hook) from None
        return (await self._handler.handle(WEBHOOK, stream, command, subject=about.hook)).position
