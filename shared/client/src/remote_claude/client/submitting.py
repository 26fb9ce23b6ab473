"""What both clients share about tasks: a submission's fields, the filters of the list, the states that end one."""

from __future__ import annotations

import uuid
from typing import Literal, TypedDict

from remote_claude.client import operations
from remote_claude.client.calls import Call
from remote_claude.client.models import (
    BestOfRequest,
    PullRequestRequest,
    RepositoryRequest,
    SubmitAnswer,
    SubmitRequest,
)

State = Literal[
    "submitted", "queued", "assigned", "running", "succeeded", "failed", "cancelled", "timed_out", "rejected"
]
ENDED = frozenset({"succeeded", "failed", "cancelled", "timed_out", "rejected"})
WAIT_S = 25
"""How long one request waits for the end of a task: less than a request may take."""


class TaskOptions(TypedDict, total=False):
    """The fields of a submission besides its prompt; `agent` is `claude` if left out, `repo` also takes a URL.

    `idempotency_key` makes submitting again, in another process too, the same task.
    """

    agent: str
    model: str
    provider: str
    image: str
    network: str
    secrets: list[str]
    budget_nano_usd: int
    continues: str
    checkpoint: str
    best_of: BestOfRequest
    repo: RepositoryRequest | str
    pull_request: PullRequestRequest
    max_attempts: int
    timeout_s: int
    priority: int
    labels: dict[str, str]
    idempotency_key: str


class Filters(TypedDict, total=False):
    """What a list of tasks is narrowed by; several `label`s: all of them; several `state`s: one of them."""

    state: list[State]
    agent: str
    submitted_by: str
    label: list[str]
    q: str
    limit: int
    min_position: int


def submission(prompt: str, options: TaskOptions) -> Call[SubmitAnswer]:
    """The call that submits a task."""
    given = dict(options)
    key = given.pop("idempotency_key", None) or uuid.uuid4().hex
    if isinstance(given.get("repo"), str):
        given["repo"] = {"url": given["repo"]}
    body: SubmitRequest = {"agent": "claude", **given, "prompt": prompt}  # type: ignore[typeddict-item]  # fields of `TaskOptions` are its own
    return operations.submit_task(body, idempotency_key=str(key))
