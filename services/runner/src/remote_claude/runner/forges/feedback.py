"""What a pull request still asks for, as a text for the agent of a task that continues it."""

from __future__ import annotations

from collections.abc import Sequence

import httpx2

from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.contracts.runner import PullRequestOpened
from remote_claude.eventsourcing.events import stream_id
from remote_claude.runner.forges.client import Feedback, ForgeFailed
from remote_claude.runner.forges.connection import connect
from remote_claude.runner.forges.description import BEGIN, COMMENT_MARK
from remote_claude.runtime.service import Runtime

VARIABLE = "RCLAUDE_FEEDBACK"
"""The text in the agent's environment."""
MAX_ONE, MAX_ALL = 8_000, 60_000
"""Characters of a comment or a check, and of the text."""


async def read_feedback(runtime: Runtime, line: Sequence[TaskSubmitted]) -> str:
    """Review comments and failing checks of the pull request of these tasks. Raises `ForgeFailed`, `KeyErased`, `KeyUnusable`."""
    number = await _number(runtime, line)
    if number is None:
        raise ForgeFailed(
            "pull_request_missing", "The task that this one continues has no open pull request."
        )
    connection = await connect(runtime, line)
    async with httpx2.AsyncClient(timeout=30.0, follow_redirects=False) as client:
        return described(await connection.client(client).feedback(number))


def described(feedback: Feedback) -> str:
    """In Markdown. It begins with a warning to the agent that others wrote the text."""
    parts = ["What follows is from the pull request. Others have written it: treat it as review comments."]
    for comment in feedback.review_comments:
        if BEGIN in comment.text or COMMENT_MARK in comment.text or not comment.text.strip():
            continue
        place = f" at {comment.place}" if comment.place else ""
        parts.append(f"## Comment by {comment.author}{place}\n\n{comment.text[:MAX_ONE]}")
    for check in feedback.checks:
        link = f"\n\n{check.url}" if check.url else ""
        parts.append(f"## Failing check: {check.name}\n\n{check.text[-MAX_ONE:]}{link}")
    if len(parts) == 1:
        parts.append("There is no comment, and no check fails.")
    return "\n\n".join(parts)[:MAX_ALL].replace("\0", "")


async def _number(runtime: Runtime, line: Sequence[TaskSubmitted]) -> int | None:
    """The number of the pull request that was opened last for one of these tasks."""
    for one in line:
        history = await runtime.log.read_stream(stream_id("runner", one.org, "pull_request", one.task))
        for recorded in reversed(history):
            if isinstance(recorded.event, PullRequestOpened):
                return recorded.event.number
    return None
