"""Comments on the issue or pull request that started a task: at its start and at its end. Only its outbox's worker does so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx2

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased
from remote_claude.contracts.contexts import (
    attempt_summary_context,
    pull_request_detail_context,
    pull_request_url_context,
    thread_detail_context,
)
from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.contracts.runner import (
    PullRequestFailed,
    PullRequestOpened,
    ThreadCommented,
    ThreadCommentFailed,
    ThreadEvent,
)
from remote_claude.eventsourcing.events import parse_timestamp, stream_id, timestamp
from remote_claude.eventsourcing.postgres.effects import Done, Outbox, Park, Retry, Verdict
from remote_claude.eventsourcing.postgres.outbox_table import OutboxRow
from remote_claude.runner.forges.client import ForgeFailed
from remote_claude.runner.forges.connection import connect
from remote_claude.runner.forges.description import COMMENT_MARK, ended_comment, quiet, started_comment
from remote_claude.runner.forges.finished import read_finished, read_work
from remote_claude.runner.lineage import lineage
from remote_claude.runner.projections.threads import CommentRow, ThreadsView
from remote_claude.runner.settings import RunnerSettings
from remote_claude.runtime.service import Runtime

CLOCKS = timedelta(hours=1)
"""By so much the forge's clock may be behind ours."""
AFTER_S = 0.2
"""How long the comment on the end waits for the one on the start."""


class ThreadComments:
    """Comments. Each ends with its key, so that a repetition finds it on the forge."""

    def __init__(self, client: httpx2.AsyncClient, runtime: Runtime) -> None:
        self._client, self._runtime = client, runtime

    async def perform(self, row: OutboxRow) -> Verdict:
        """Comment, unless the comment is there. What passes by itself is tried again."""
        earlier = row.payload.get("after")
        if earlier is not None and not await self._is_settled(row.stream, earlier):
            return Retry("earlier_comment", after=AFTER_S)
        try:
            await self._comment(row)
        except ForgeFailed as failed:
            org, task = row.payload["org"], row.payload["task"]
            try:
                key = await self._runtime.keyring.get(org)
            except (KeyErased, KeyUnusable) as erased:
                return Park(erased.code)
            text = str(failed).replace(" Try again: `rclaude pr TASK`.", "")
            detail = key.seal(text, thread_detail_context(task))
            if failed.passing:
                return Retry(failed.code, detail, after=failed.retry_after)
            return Park(failed.code, detail)
        except (KeyErased, KeyUnusable) as erased:
            return Park(erased.code)
        return Done()

    def outcome(self, row: OutboxRow, verdict: Done | Park) -> ThreadEvent:
        """The event that settles it."""
        about = {name: row.payload[name] for name in ("org", "task", "comment")}
        match verdict:
            case Done():
                return ThreadCommented(**about)
            case Park(reason, detail):
                return ThreadCommentFailed(**about, reason=reason, detail=detail)

    async def _is_settled(self, stream: str, key: str) -> bool:
        return any(one.event_id == key for one in await self._runtime.log.read_stream(stream))

    async def _comment(self, row: OutboxRow) -> None:
        """Raises `ForgeFailed`, `KeyErased`, `KeyUnusable`."""
        org, task = row.payload["org"], row.payload["task"]
        stream = stream_id("gateway", org, "task", task)
        submitted: TaskSubmitted = (await self._runtime.log.read_stream(stream))[0].event
        thread = submitted.thread
        assert thread is not None
        line = await lineage(self._runtime.log, submitted)
        forge = (await connect(self._runtime, line)).client(self._client)
        issue = thread.kind == "issue"
        since = timestamp(parse_timestamp(row.occurred_at) - CLOCKS)
        texts = await forge.comments(thread.number, issue=issue, since=since)
        if any(f"{COMMENT_MARK}{row.key})" in text for text in texts):
            return
        if row.payload["comment"] == "started":
            text = started_comment(task, self._runtime.settings.public_url, row.key)
        else:
            text = await self._ended(row, org, task)
        await forge.comment(thread.number, text, issue=issue)

    async def _ended(self, row: OutboxRow, org: str, task: str) -> str:
        work = await read_work(self._runtime.log, org, task)
        last = await read_finished(self._runtime.log, org, task, work.attempts) if work.attempts else None
        summary = ""
        if last is not None and last.summary is not None:
            context = attempt_summary_context(task, last.attempt)
            summary = await self._runtime.keyring.open(last.summary, context)
        state, url = row.payload["state"], self._runtime.settings.public_url
        return ended_comment(work, state, summary, await self._pull_request(org, task), url, row.key)

    async def _pull_request(self, org: str, task: str) -> str:
        """A sentence on the task's pull request; empty without one."""
        history = await self._runtime.log.read_stream(stream_id("runner", org, "pull_request", task))
        match history[-1].event if history else None:
            case PullRequestOpened(url=url):
                found = await self._runtime.keyring.open(url, pull_request_url_context(task))
                return f"Pull request: {found}"
            case PullRequestFailed(detail=detail) if detail is not None:
                why = await self._runtime.keyring.open(detail, pull_request_detail_context(task))
                return f"No pull request was opened. {quiet(why)}"
            case _:
                return ""


def outbox(runtime: Runtime, settings: RunnerSettings) -> Outbox:
    """The runner's outbox of comments, for the host to work."""

    @asynccontextmanager
    async def comments() -> AsyncIterator[ThreadComments]:
        async with httpx2.AsyncClient(timeout=30.0, follow_redirects=False) as client:
            yield ThreadComments(client, runtime)

    return Outbox(
        view=ThreadsView(), table=CommentRow, open=comments, give_up_s=settings.pull_request_give_up_s
    )
