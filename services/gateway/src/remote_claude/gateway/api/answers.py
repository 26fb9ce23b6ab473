"""From a task in the view to what is answered. Here, and nowhere before, texts are opened."""

from __future__ import annotations

from typing import TypeVar

import orjson

from remote_claude.access.keyring import DataKey, KeyErased, Keyring
from remote_claude.contracts import Sealed
from remote_claude.contracts.contexts import (
    attempt_detail_context,
    labels_context,
    permission_context,
    prompt_context,
    pull_request_detail_context,
    pull_request_url_context,
    repository_ref_context,
    repository_url_context,
)
from remote_claude.contracts.gateway import BundleRepository, RemoteRepository
from remote_claude.contracts.waiting import Waiting
from remote_claude.gateway.api.answer_models import (
    AttemptAnswer,
    EventAnswer,
    OutputSize,
    PermissionAsked,
    PullRequestAnswer,
    RepositoryAnswer,
    TaskAnswer,
    TaskSummary,
    TaskWaiting,
)
from remote_claude.gateway.domain.lifecycle import PullRequest, TaskProgress, total_usage
from remote_claude.gateway.projections.queries import Task, TaskEvent

TITLE_CHARACTERS = 120
Shown = TypeVar("Shown", bound=TaskSummary)


async def data_key(keyring: Keyring, org: str) -> DataKey | None:
    """The organisation's data key; None once it has been erased."""
    try:
        return await keyring.get(org)
    except KeyErased:
        return None


def _open(key: DataKey | None, sealed: Sealed | None, context: str) -> str | None:
    try:
        return key.open(sealed, context) if key and sealed else None
    except KeyErased:
        return None


def prompt(task: Task, key: DataKey | None) -> str | None:
    """What the agent is to do; None once erased."""
    return _open(key, task.prompt, prompt_context(task.task))


def summary(task: Task, key: DataKey | None) -> TaskSummary:
    """A task in a list."""
    progress = task.progress
    text = prompt(task, key)
    labels = _open(key, task.labels, labels_context(task.task))
    return TaskSummary(
        id=task.task,
        state=progress.state,
        reason=progress.reason,
        agent=task.agent,
        title=text.strip().splitlines()[0][:TITLE_CHARACTERS] if text else None,
        labels=orjson.loads(labels) if labels else {},
        repo=_repository(task, key),
        attempt=progress.attempt,
        max_attempts=task.max_attempts,
        exit_code=progress.exit_code,
        submitted_by=task.submitted_by,
        team=task.team,
        submitted_at=task.submitted_at,
        started_at=progress.started_at,
        finished_at=progress.finished_at,
        position=task.position,
        waiting=_asks(task, key),
    )


def with_reason(task: Shown, waiting: Waiting | None) -> Shown:
    """The task with the reason why it waits."""
    if waiting is None:
        return task
    reason = TaskWaiting(code=waiting.code, detail=waiting.detail, place=waiting.place)
    return task.model_copy(update={"waiting": reason})


HINTS = ("command", "file_path", "path", "url", "pattern")
"""Fields of a tool's input that say most about it, the first that there is."""


def permissions(task: Task, key: DataKey | None) -> list[PermissionAsked]:
    """What the agent waits for."""
    return [
        PermissionAsked(
            request=asked.request,
            attempt=asked.attempt,
            tool=asked.tool,
            input=orjson.loads(given) if given else None,
            asked_at=asked.asked_at,
        )
        for asked in task.progress.permissions
        for given in [_open(key, asked.input, permission_context(task.task, asked.request))]
    ]


def _asks(task: Task, key: DataKey | None) -> TaskWaiting | None:
    """That a running task waits for a person."""
    if not (asked := permissions(task, key)):
        return None
    first = asked[0]
    hint = next((str(first.input[name]) for name in HINTS if first.input and name in first.input), "")
    what = f"{first.tool}: {hint.strip().splitlines()[0][:160]}" if hint.strip() else first.tool
    more = f", and for {len(asked) - 1} more" if len(asked) > 1 else ""
    detail = f"Its agent asks for a permission ({what}){more}. `rclaude attach {task.task}` shows it and takes the answer."
    return TaskWaiting(code="permission", detail=detail, place=None)


def whole(task: Task, key: DataKey | None, as_of: int) -> TaskAnswer:
    """A task with everything that is known of it."""
    progress = task.progress
    current = progress.get(progress.attempt)
    details = [_open(key, a.detail, attempt_detail_context(task.task, a.number)) for a in progress.attempts]
    return TaskAnswer(
        **dict(summary(task, key)),
        detail=progress.detail or _detail(progress, details),
        prompt=prompt(task, key),
        priority=task.priority,
        timeout_s=task.timeout_s,
        changed=progress.changed,
        attempts=[
            AttemptAnswer(
                attempt=a.number,
                runner=a.runner,
                provider=a.provider,
                outcome=a.outcome,
                reason=a.reason,
                detail=detail,
                exit_code=a.exit_code,
                started_at=a.started_at,
                finished_at=a.finished_at,
            )
            for a, detail in zip(progress.attempts, details, strict=True)
        ],
        usage=total_usage(progress.attempts),
        result=current.result if current else None,
        pull_request=_asked_pull_request(task, key),
        permissions=permissions(task, key),
        output=OutputSize(
            frames=sum(a.output.frames for a in progress.attempts if a.output), complete=progress.settled
        ),
        as_of=as_of,
    )


def _asked_pull_request(task: Task, key: DataKey | None) -> PullRequestAnswer | None:
    """None where none was asked for, or the task did not succeed."""
    progress = task.progress
    if progress.pull_request is None or (progress.terminal and progress.state != "succeeded"):
        return None
    return pull_request(task.task, progress.pull_request, key)


def pull_request_url(task: Task, key: DataKey | None) -> str | None:
    """Of the pull request that is open for a task."""
    found = task.progress.pull_request
    return _open(key, found.url, pull_request_url_context(task.task)) if found is not None else None


def pull_request(task: str, found: PullRequest, key: DataKey | None) -> PullRequestAnswer:
    """The pull request of a task."""
    return PullRequestAnswer(
        state=found.state,
        forge=found.forge,
        number=found.number,
        url=_open(key, found.url, pull_request_url_context(task)),
        branch=found.branch,
        reason=found.reason,
        detail=_open(key, found.detail, pull_request_detail_context(task)),
    )


ENDED_BY = {
    ("cancelled", False): "It was cancelled before it had started. `rclaude audit` shows by whom.",
    ("cancelled", True): "It was cancelled while it ran. `rclaude audit` shows by whom.",
    ("timed_out", False): "Its time limit was over before it had started. Give it more with `--timeout`.",
    ("timed_out", True): "It still ran when its time limit was over. Give it more with `--timeout`.",
}
"""The sentence for a state that a task ends in without a word of its attempt, by whether it had started."""


def _detail(progress: TaskProgress, details: list[str | None]) -> str | None:
    """Why it ended as it did, or what of a success did not come back: the sentence of its last attempt."""
    if not progress.terminal:
        return None
    if progress.reason != "attempts_exhausted":
        return (details[-1] if details else None) or ENDED_BY.get((progress.state, bool(progress.started_at)))
    last = details[-1] or progress.attempts[-1].reason
    return f"Its sandbox or its runner was lost in each of its {progress.attempt} attempts; the last time: {last}."


def _repository(task: Task, key: DataKey | None) -> RepositoryAnswer | None:
    match task.repository:
        case None:
            return None
        case BundleRepository(sha256=sha256):
            return RepositoryAnswer(bundle=sha256)
        case RemoteRepository(url=url, ref=ref):
            return RepositoryAnswer(
                url=_open(key, url, repository_url_context(task.task)),
                ref=_open(key, ref, repository_ref_context(task.task)),
            )


def event(row: TaskEvent) -> EventAnswer:
    """An event of a task."""
    return EventAnswer(
        position=row.position,
        id=row.event_id,
        type=row.type,
        version=row.version,
        time=row.occurred_at,
        data=row.data,
    )
