"""What the gateway's routes answer, as the OpenAPI document has it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from remote_claude.contracts.gateway import ContentKind, PermissionDecision
from remote_claude.contracts.runner import AttemptOutcome, Cumulative, Result
from remote_claude.gateway.domain.lifecycle import State


class MessageAnswer(BaseModel):
    """The message is recorded, as number `number` of the task. The agent takes it after its current turn."""

    id: str
    number: int
    position: int


class AnsweredPermission(BaseModel):
    """The answer is recorded; the agent has it in a moment."""

    id: str
    request: str
    decision: PermissionDecision
    position: int


class PermissionAsked(BaseModel):
    """The agent waits for an answer: may it use `tool` with `input`? Long texts in it are cut; null once erased."""

    request: str
    attempt: int
    tool: str
    input: dict[str, Any] | None
    asked_at: str


class CancelAnswer(BaseModel):
    """`state` is the state before the request took effect; `position` is that of the request."""

    id: str
    state: State
    position: int


class RepositoryAnswer(BaseModel):
    url: str | None = None
    ref: str | None = None
    bundle: str | None = None


class PullRequestAnswer(BaseModel):
    """The pull request of the task's result. `requested`: it is opened once the task has succeeded.

    After `failed`, `detail` says what happened and what to do; the task and its result stay as they are.
    """

    state: Literal["requested", "opened", "failed"]
    forge: str | None
    number: int | None
    url: str | None
    branch: str | None
    reason: str | None
    detail: str | None


class PullRequestRequestAnswer(BaseModel):
    """The pull request if it is open already. Otherwise it is requested: reads with `min_position` show it."""

    id: str
    position: int
    pull_request: PullRequestAnswer | None


class AttemptAnswer(BaseModel):
    attempt: int
    runner: str
    provider: str
    outcome: AttemptOutcome | None
    reason: str | None
    detail: str | None
    exit_code: int | None
    started_at: str | None
    finished_at: str | None


class OutputSize(BaseModel):
    """Frames of all attempts whose output is sealed; `complete` when that is all there will be."""

    frames: int
    complete: bool


class TaskWaiting(BaseModel):
    """Why a task waits. `code` is stable (`permission`: its agent asks for one), `detail` says what it waits for and what helps.

    `place` is its place in the organisation's queue, from 1; null when it is not counted.
    """

    code: str
    detail: str
    place: int | None


class TaskSummary(BaseModel):
    """A task in a list. `title` is the first line of the prompt, cut to 120 characters; null once erased.

    `waiting` is null unless the task is submitted, queued, or running and its agent asks for a permission.
    """

    id: str
    state: State
    reason: str | None
    agent: str
    title: str | None
    labels: dict[str, str]
    repo: RepositoryAnswer | None
    attempt: int
    max_attempts: int
    exit_code: int | None
    submitted_by: str
    team: str | None
    submitted_at: str
    started_at: str | None
    finished_at: str | None
    position: int
    waiting: TaskWaiting | None = None


class TaskAnswer(TaskSummary):
    """A task. `position` is that of its submission, `changed` that of its last change of state, attempt, permissions or pull
    request. `permissions` are what its agent waits for.

    Once it has ended, `kept_until` says until when its content is kept, null for always, and `removed` what is no longer kept.
    `reason` is a stable code, `detail` a sentence about it. Texts are null once the organisation's key is erased.
    """

    detail: str | None
    prompt: str | None
    priority: int
    timeout_s: int | None
    changed: int
    attempts: list[AttemptAnswer]
    usage: Cumulative
    result: Result | None
    pull_request: PullRequestAnswer | None
    permissions: list[PermissionAsked]
    output: OutputSize
    kept_until: dict[ContentKind, str | None] = Field(default_factory=dict)
    removed: list[ContentKind] = Field(default_factory=list)
    as_of: int


class SubmitAnswer(BaseModel):
    """`position` is that of the decision, or of the submission while there is none: reads with `min_position` show it.

    After a `wait`, `task` is the whole task, and `state` and `position` are those of its last change.
    """

    id: str
    state: State
    position: int
    task: TaskAnswer | None = None


class TaskPage(BaseModel):
    """Newest first. `next` is the cursor of the following page, null on the last."""

    tasks: list[TaskSummary]
    next: str | None
    as_of: int


class AgentAnswer(BaseModel):
    """An agent; `offered` says whether a runner that is there now has it.

    With `needs_model_key` no operator's key serves the organisation: a task needs a stored key of one's own.
    """

    name: str
    offered: bool
    needs_model_key: bool


class AgentList(BaseModel):
    """`providers` and `capabilities` (fields of a submission that not every runner fulfils) are those of the runners now."""

    agents: list[AgentAnswer]
    providers: list[str]
    capabilities: list[str]


class EventAnswer(BaseModel):
    """An event of the log, without its sealed texts."""

    position: int
    id: str
    type: str
    version: int
    time: str
    data: dict[str, Any]


class EventPage(BaseModel):
    """In log order. `next` is the position to go on after, null when nothing follows by now."""

    events: list[EventAnswer]
    next: int | None
    as_of: int


class OutputFrame(BaseModel):
    """A frame of the agent with its place, which is what `after` takes; `kind` says what else it holds."""

    model_config = ConfigDict(extra="allow")

    cursor: str
    kind: str
    at: str


class OutputPage(BaseModel):
    """In order. `next` is the cursor to go on after.

    `more` says that the page was full, `complete` that nothing comes after it any more.
    """

    frames: list[OutputFrame]
    next: str
    more: bool
    complete: bool
    as_of: int


class BlobAnswer(BaseModel):
    sha256: str
    size: int
