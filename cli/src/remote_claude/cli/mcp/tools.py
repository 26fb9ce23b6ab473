"""The tools of the MCP server. Each is one or a few requests to the API; what is refused is an error of the tool."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

from remote_claude.cli import config, release, render, repository
from remote_claude.cli.arguments import checked_prompt
from remote_claude.cli.client import CliClient
from remote_claude.cli.commands.submission import local_repository, send_repository
from remote_claude.cli.commands.tasks import bring_over, details
from remote_claude.cli.errors import CliError
from remote_claude.cli.mcp.watching import next_output
from remote_claude.cli.repository.git import RepositoryError
from remote_claude.cli.repository.preferences import preferences
from remote_claude.cli.session import task_id

INSTRUCTIONS = (
    "Runs coding tasks on isolated machines. `run_task` starts one and returns at once; `watch_task` waits for news and "
    "returns the output since a cursor; `diff_task` shows the change, `apply_task` commits it to the repository here."
)
MAX_WAIT_S = 55
READS = ToolAnnotations(read_only_hint=True)

P = ParamSpec("P")
R = TypeVar("R")

TaskId = Annotated[str, Field(description="The id of the task: task_ and 26 characters.")]


class TaskState(BaseModel):
    """A task. `detail` says why it is in this state; costs are nano-dollars and known at the end."""

    id: str
    state: str
    ended: bool
    detail: str | None = None
    title: str | None = None
    agent: str | None = None
    commit: str | None = None
    pull_request: str | None = None
    cost_nano_usd: int | None = None


class TaskList(BaseModel):
    """Tasks, newest first."""

    tasks: list[TaskState]


class Watched(BaseModel):
    """What the task wrote since the cursor that was given, and the cursor to go on from."""

    task: TaskState
    output: str
    cursor: str | None


class Patch(BaseModel):
    """The change as a patch."""

    patch: str


class AppliedResult(BaseModel):
    """The commit in the repository here; `already` when it was there before."""

    commit: str | None
    files: list[str]
    already: bool
    conflicts: list[str]


def server(connect: Callable[[Context[Any, Any]], CliClient], place: Path | None) -> MCPServer[Any]:
    """The server. `connect` makes a client for the request that is served; `place` is the repository on this disk, if any."""
    mcp: MCPServer[Any] = MCPServer(
        "remote-claude", version=release(), instructions=INSTRUCTIONS, log_level="WARNING"
    )
    tools = _Tools(connect, place)
    mcp.add_tool(_with_tool_errors(tools.run_task), annotations=ToolAnnotations(destructive_hint=False))
    mcp.add_tool(_with_tool_errors(tools.list_tasks), annotations=READS)
    mcp.add_tool(_with_tool_errors(tools.watch_task), annotations=READS)
    mcp.add_tool(_with_tool_errors(tools.diff_task), annotations=READS)
    mcp.add_tool(_with_tool_errors(tools.send_message), annotations=ToolAnnotations(destructive_hint=False))
    mcp.add_tool(_with_tool_errors(tools.cancel_task))
    if place is not None:
        mcp.add_tool(_with_tool_errors(tools.apply_task))
    return mcp


def _with_tool_errors(tool: Callable[P, R]) -> Callable[P, R]:
    """The tool, with refusals as errors that the model reads."""

    @functools.wraps(tool)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return tool(*args, **kwargs)
        except (CliError, RepositoryError) as error:
            raise ToolError(f"{error.code}: {error}") from error

    return wrapped


class _Tools:
    def __init__(self, connect: Callable[[Context[Any, Any]], CliClient], place: Path | None) -> None:
        self._connect, self._place = connect, place

    def run_task(
        self,
        context: Context[Any, Any],
        prompt: Annotated[str, Field(description="What the agent is to do.")],
        agent: Annotated[
            str | None,
            Field(
                description="claude, or shell, which runs the prompt as a command; claude unless configured."
            ),
        ] = None,
        repository_url: Annotated[
            str | None,
            Field(description="A repository to clone; without it the one on this disk, if there is one."),
        ] = None,
        ref: Annotated[str | None, Field(description="Branch, tag or commit of repository_url.")] = None,
        without_repository: bool = False,
        model: str | None = None,
        budget_usd: Annotated[
            str | None, Field(description="The most that models may cost, in dollars, such as 2.50.")
        ] = None,
        timeout_s: int | None = None,
        pull_request: Annotated[
            bool, Field(description="Open a pull request; needs repository_url.")
        ] = False,
    ) -> TaskState:
        """Start a task and return at once. `watch_task` follows it."""
        body: dict[str, Any] = {"prompt": checked_prompt(prompt)}
        optional = {"agent": agent, "model": model, "timeout_s": timeout_s}
        body |= {name: value for name, value in optional.items() if value is not None}
        if budget_usd is not None:
            body["budget_nano_usd"] = int(Decimal(budget_usd) * render.NANO)
        if pull_request:
            body["pull_request"] = {}
        client = self._connect(context)
        if repository_url is not None:
            body["repo"] = {"url": repository_url, **({"ref": ref} if ref else {})}
        elif not without_repository and self._place is not None:
            local = local_repository(str(self._place))
            assert local is not None
            body = {**preferences(local.top)[0], **body}
            body["repo"] = {"bundle": send_repository(client, local)}
        body.setdefault("agent", config.setting("agent") or "claude")
        submitted = client.post("/v1/tasks", body, idempotency_key=str(uuid.uuid4()))
        return TaskState(id=submitted["id"], state=submitted["state"], ended=False, agent=body["agent"])

    def list_tasks(
        self,
        context: Context[Any, Any],
        limit: Annotated[int, Field(ge=1, le=200)] = 20,
        state: str | None = None,
    ) -> TaskList:
        """The newest tasks."""
        page = self._connect(context).get("/v1/tasks", limit=limit, state=state)
        return TaskList(tasks=[_state(task) for task in page["tasks"]])

    def watch_task(
        self,
        context: Context[Any, Any],
        task: TaskId,
        cursor: Annotated[
            str | None, Field(description="Where the last call ended; all output without it.")
        ] = None,
        wait_s: Annotated[int, Field(ge=0, le=MAX_WAIT_S, description="Wait so long for news.")] = 30,
    ) -> Watched:
        """Wait for the next output or the end of a task; returns what is new."""
        client = self._connect(context)
        id = task_id(task, client)
        shown = client.get(f"/v1/tasks/{id}")
        output, cursor, complete = _output(client, id, cursor)
        ended = shown["state"] in render.TERMINAL_STATES and complete
        if not output and not ended and wait_s:
            output, cursor, ended = next_output(client, id, cursor, wait_s)
            shown = client.wait(id, None) if ended else client.get(f"/v1/tasks/{id}")
        state = _state(details(client, id, shown["as_of"]) if ended else shown)
        return Watched(task=state, output=output, cursor=cursor)

    def diff_task(self, context: Context[Any, Any], task: TaskId) -> Patch:
        """The change that a task has made, as a patch."""
        client = self._connect(context)
        patch = client.download(f"/v1/tasks/{task_id(task, client)}/diff")
        return Patch(patch=patch.decode(errors="replace"))

    def apply_task(self, context: Context[Any, Any], task: TaskId) -> AppliedResult:
        """Commit the change of a task to the current branch of the repository here. Uncommitted changes stay as they are."""
        client = self._connect(context)
        here = repository.find(self._place) if self._place is not None else None
        if here is None:
            raise ToolError(f"{self._place} is not in a Git repository")
        applied = bring_over(client, task_id(task, client), here)
        return AppliedResult(
            commit=applied.commit,
            files=list(applied.files),
            already=applied.already,
            conflicts=list(applied.conflicts),
        )

    def send_message(self, context: Context[Any, Any], task: TaskId, text: str) -> TaskState:
        """Send a message to a task that runs. Its agent takes it after the current turn."""
        client = self._connect(context)
        id = task_id(task, client)
        client.post(f"/v1/tasks/{id}/messages", {"text": text})
        return _state(client.get(f"/v1/tasks/{id}"))

    def cancel_task(self, context: Context[Any, Any], task: TaskId) -> TaskState:
        """Ask for the end of a task."""
        client = self._connect(context)
        answer = client.post(f"/v1/tasks/{task_id(task, client)}/cancel")
        return _state(client.get(f"/v1/tasks/{answer['id']}", min_position=answer["position"]))


def _state(task: dict[str, Any]) -> TaskState:
    cost, pull = task.get("cost"), task.get("pull_request")
    return TaskState(
        id=task["id"],
        state=task["state"],
        ended=task["state"] in render.TERMINAL_STATES,
        detail=render.explanation(task),
        title=task.get("title"),
        agent=task["agent"],
        commit=(task.get("result") or {}).get("commit"),
        pull_request=pull["url"] if pull else None,
        cost_nano_usd=int(cost["total_nano_usd"]) if cost else None,
    )


def _output(client: CliClient, id: str, after: str | None) -> tuple[str, str | None, bool]:
    """The text since a cursor, the next cursor, and whether nothing comes after it any more."""
    pieces: list[str] = []
    while True:
        page = client.get(f"/v1/tasks/{id}/output", after=after, limit=200)
        pieces += [str(frame["text"]) for frame in page["frames"] if frame.get("text")]
        after = page["next"] or after
        if not page["more"]:
            return "".join(pieces), after, page["complete"]
