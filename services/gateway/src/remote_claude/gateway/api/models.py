"""What the gateway's routes take, as the OpenAPI document has it."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from remote_claude.contracts.gateway import PermissionDecision, PermissionMode
from remote_claude.edge.freshness import MAX_POSITION, MinPosition
from remote_claude.outbound.hosts import network

MAX_LABELS = 32
MAX_AGENT_OPTIONS = 64 * 1024
MAX_BUDGET = 10**15
"""A million dollars: exact in every JSON reader."""
REF_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock$|^[-/]|[/.]$", re.ASCII)
SHA256 = r"^[0-9a-f]{64}$"


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul", "must not contain a NUL character")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "must not be blank")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise PydanticCustomError("unprintable", "must be printable, without line breaks")
    return text


def _ref(text: str) -> str:
    if REF_FORBIDDEN.search(text):
        raise PydanticCustomError("ref", "must be a branch, a tag or a commit")
    return text


Text = Annotated[str, AfterValidator(_no_nul), AfterValidator(_not_blank)]
LabelValue = Annotated[str, StringConstraints(max_length=256), AfterValidator(_printable)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_printable)]
SecretName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]


def _network(text: str) -> str:
    try:
        network(text)
    except ValueError as error:
        raise PydanticCustomError("network", "{why}", {"why": str(error)}) from error
    return text


class StrictRequest(BaseModel):
    """What is not known is refused: a misspelt field would do something else than was meant."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class RepositoryRequest(StrictRequest):
    """Either a URL to clone, with a branch, tag or commit if it is not the default one, or an uploaded bundle."""

    url: Annotated[str, StringConstraints(max_length=2048), AfterValidator(_printable)] | None = None
    ref: Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_ref)] | None = None
    bundle: Annotated[str, StringConstraints(pattern=SHA256)] | None = None
    origin: Annotated[str, StringConstraints(max_length=2048), AfterValidator(_printable)] | None = Field(
        default=None,
        description="Of a bundle: the URL of the repository that it was made of. Only a keyed hash of it is kept, by "
        "which costs can be grouped.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.url is None) == (self.bundle is None):
            raise PydanticCustomError("repository", "needs either `url` or `bundle`")
        if self.ref is not None and self.url is None:
            raise PydanticCustomError("repository", "`ref` goes with `url` only")
        if self.origin is not None and self.bundle is None:
            raise PydanticCustomError("repository", "`origin` goes with `bundle` only")
        return self


class BestOfRequest(StrictRequest):
    """The task is number `index` of `size` tasks that try the same. All of them carry the same `group`."""

    group: Name
    index: int = Field(ge=1)
    size: int = Field(ge=2, le=16)

    @model_validator(mode="after")
    def _index_in_size(self) -> Self:
        if self.index > self.size:
            raise PydanticCustomError("best_of", "`index` must not be larger than `size`")
        return self


class PullRequestRequest(StrictRequest):
    """Open a pull request when the task has succeeded; `repo` names an https URL then.

    Without `base` it goes to `repo.ref`, without that to the repository's default branch.
    """

    draft: bool = False
    base: Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_ref)] | None = None
    title: (
        Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)] | None
    ) = None
    reviewers: list[LabelValue] = Field(
        default_factory=list,
        max_length=20,
        description="As the forge's API names them: logins, `ORG/TEAM`, on Bitbucket account ids, on Azure DevOps ids.",
    )
    labels: list[Name] = Field(default_factory=list, max_length=20)
    workflows: bool = Field(
        default=False,
        description="The result may change files that the forge runs, such as those in `.github/workflows`.",
    )


class AuthorRequest(StrictRequest):
    """Who the commit is by. The agent is named in it as its co-author."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]
    email: Annotated[str, StringConstraints(pattern=r"^[^<>\s@]+@[^<>\s@]+$", max_length=200)]


Network = Annotated[str, StringConstraints(max_length=2048), AfterValidator(_network)]
"""`none`, `default`, or hosts with a comma between them."""


class AgentOptions(StrictRequest):
    """What Claude Code is told besides its prompt.

    `allowed_tools` are its rules, such as `Read` or `Bash(git *)`: with the permission mode `all` nothing else may be used,
    with the others these need no answer. `mcp_servers` is the `mcpServers` of its MCP configuration. `system_prompt` replaces
    its own, `append_system_prompt` follows it.
    """

    allowed_tools: list[LabelValue] = Field(default_factory=list, max_length=100)
    mcp_servers: dict[Name, dict[str, JsonValue]] = Field(default_factory=dict, max_length=20)
    system_prompt: Text | None = None
    append_system_prompt: Text | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if len(self.model_dump_json()) > MAX_AGENT_OPTIONS:
            raise PydanticCustomError("agent_options", "must not be longer than 64 KiB together")
        return self


class TaskOptions(StrictRequest):
    """How a task runs, and on what. `timeout_s` bounds each attempt; without it the plan does.

    Where no runner offers `model`, `image`, `network`, `secrets` or `budget_nano_usd`, a task that asks for it
    is refused as `not_offered`.
    """

    model: Name | None = None
    provider: Name | None = Field(
        default=None, description="Where it runs, such as `local`; anywhere without it."
    )
    image: (
        Annotated[str, StringConstraints(min_length=1, max_length=512), AfterValidator(_printable)] | None
    ) = None
    permission_mode: PermissionMode | None = Field(
        default=None,
        description="What the agent may do without asking: `all` (if left out), `edits` of files only, or nothing (`ask`). "
        "The task waits for the answers.",
    )
    agent_options: AgentOptions | None = Field(default=None, description="Of the agent `claude` only.")
    network: Network | None = Field(
        default=None,
        description="Where the task may connect to: `none`, `default` (package registries and forges), or hosts.",
    )
    secrets: list[SecretName] = Field(default_factory=list, max_length=32, description="Names, never values.")
    budget_nano_usd: int | None = Field(
        default=None,
        ge=1,
        le=MAX_BUDGET,
        description="Bounds what the models of all attempts may cost, in billionths of a dollar.",
    )
    continues: str | None = Field(
        default=None, description="The finished task whose branch and conversation this one takes up."
    )
    checkpoint: Annotated[str, StringConstraints(pattern=SHA256)] | None = Field(
        default=None,
        description="The SHA-256 of an uploaded archive with a conversation that the task takes up (`rclaude push`).",
    )
    best_of: BestOfRequest | None = None
    repo: RepositoryRequest | None = None
    pull_request: PullRequestRequest | None = None
    author: AuthorRequest | None = None
    feedback: bool = Field(
        default=False,
        description="With `continues`: review comments and failing checks of its pull request follow the prompt.",
    )
    patch_only: bool = Field(
        default=False,
        description="Make no commit: the result is a patch. Does not go with `pull_request`.",
    )
    max_attempts: int = Field(default=3, ge=1, le=10)
    timeout_s: int | None = Field(default=None, ge=1, le=86400)
    priority: int = Field(default=0, ge=-100, le=100)
    labels: dict[Name, LabelValue] = Field(default_factory=dict, max_length=MAX_LABELS)
    team: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        default=None, description="The id of a team of yours; the first one that you are in if left out."
    )

    @model_validator(mode="after")
    def _pushes_a_commit(self) -> Self:
        if self.patch_only and self.pull_request is not None:
            raise PydanticCustomError("patch_only", "`patch_only` does not go with `pull_request`")
        return self


class SubmitRequest(TaskOptions):
    """A task. `timeout_s` bounds each attempt; without it the plan does.

    Where no runner offers `model`, `image`, `network`, `secrets` or `budget_nano_usd`, a task that asks for it
    is refused as `not_offered`.
    """

    prompt: Text = Field(description="At most 64 KiB of UTF-8.")
    agent: Name


MAX_WAIT_S = 60


class SubmitQuery(BaseModel):
    wait: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_WAIT_S,
            description="Seconds to wait for the end of the task. The answer is the task then, or as it is when they are over.",
        ),
    ] = 0


class ReadQuery(BaseModel):
    wait: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_WAIT_S,
            description="Seconds to wait for the end of the task; with `changed`, for its next change. The answer comes "
            "then, or when they are over, or when the server stops.",
        ),
    ] = 0
    changed: Annotated[
        int | None,
        Field(
            ge=0,
            le=MAX_POSITION,
            description="With `wait`: the `changed` of the last answer. A task that has changed since is answered at once.",
        ),
    ] = None
    min_position: MinPosition = None


class PermissionAnswerRequest(BaseModel):
    """The answer to a permission request of the agent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decision: PermissionDecision = Field(
        description="`allow_always` permits the like for the rest of the agent's conversation."
    )
    message: Annotated[str, Field(min_length=1, max_length=10_000)] | None = Field(
        default=None, description="With `deny`: what the agent is told."
    )


class MessageRequest(BaseModel):
    """A message to the agent of a task that has not ended."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Annotated[str, Field(min_length=1, max_length=100_000)]
    interrupt: bool = Field(
        default=False, description="End what the agent does at the moment, and take this at once."
    )
