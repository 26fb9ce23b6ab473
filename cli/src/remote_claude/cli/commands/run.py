"""`rclaude run`: hand over a task."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remote_claude.cli import config, render
from remote_claude.cli.arguments import labels_of, nano_usd, prompt_or_input
from remote_claude.cli.commands.best_of import agents_of, run_candidates
from remote_claude.cli.commands.submission import conduct, hand_over, local_repository, send_repository
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.repository.authors import author_of
from remote_claude.cli.repository.preferences import DEVCONTAINER, preferences
from remote_claude.cli.session import connect_or_start

if TYPE_CHECKING:
    pass


class PermissionMode(StrEnum):
    """What the agent may do without asking."""

    ALL = "all"
    EDITS = "edits"
    ASK = "ask"


WITH_VALUE = frozenset(
    {
        "--agent",
        "--repo",
        "--ref",
        "--timeout",
        "--max-attempts",
        "--priority",
        "--label",
        "--team",
        "--include",
        "--base",
        "--title",
        "--reviewer",
        "--pr-label",
        "--author",
        "--secret",
        "--image",
        "--network",
        "--provider",
        "--model",
        "--permission-mode",
        "--allowed-tools",
        "--mcp-config",
        "--system-prompt",
        "--append-system-prompt",
        "--budget",
        "--agents",
        "--judge",
    }
)
"""Options of `run` whose next word is their value."""


def run(
    prompt: Annotated[str, typer.Argument(help="What the agent is to do; `-` reads it from standard input.")],
    agent: Annotated[
        str | None,
        typer.Option(
            help="claude, codex, gemini, opencode, shell or noop; claude unless configured.",
            autocompletion=lambda: list(config.AGENTS),
        ),
    ] = None,
    repo: Annotated[
        str | None, typer.Option(help="Folder of a Git repository, or its URL; the current one if left out.")
    ] = None,
    ref: Annotated[str | None, typer.Option(help="Branch, tag or commit of a --repo URL.")] = None,
    no_repo: Annotated[bool, typer.Option("--no-repo", help="Work without a repository.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return as soon as the task is admitted.")
    ] = False,
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", help="Talk with the agent while it works.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
    timeout: Annotated[
        int | None, typer.Option(min=1, max=86400, help="Seconds an attempt may take.")
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(min=1, max=10, help="Attempts if a sandbox is lost.")
    ] = None,
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Higher goes first among your own.")] = 0,
    model: Annotated[
        str | None, typer.Option(help="Model of the agent; its own default if left out.")
    ] = None,
    permission_mode: Annotated[
        PermissionMode | None,
        typer.Option(
            help="What the agent may do without asking: all (if left out), edits of files, or nothing."
        ),
    ] = None,
    allowed_tools: Annotated[
        list[str] | None,
        typer.Option(
            help="Of Claude Code: a tool that it may use, such as Read or 'Bash(git *)'; may be given again."
        ),
    ] = None,
    mcp_config: Annotated[
        Path | None, typer.Option(help="Of Claude Code: a JSON file with the MCP servers that it starts.")
    ] = None,
    system_prompt: Annotated[
        str | None, typer.Option(help="Of Claude Code: its system prompt, in place of its own.")
    ] = None,
    append_system_prompt: Annotated[
        str | None, typer.Option(help="Of Claude Code: what follows its system prompt.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Image of its sandbox, built on the worker's; for the provider docker.")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(help="Where it may connect to: none, default, or HOST,...; default if left out."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Dollars that the model may cost, such as 2.50; no limit if left out.")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(help="Name of a secret that the task gets (`rclaude secret`); may be given again."),
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; may be given again.")] = None,
    team: Annotated[
        str | None, typer.Option(help="The team that it is of, name or id; your first one if left out.")
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(help="Ignored files that go along, a pattern as in .gitignore; may be given again."),
    ] = None,
    pr: Annotated[
        bool, typer.Option("--pr", help="Push the result and open a pull request; goes with a --repo URL.")
    ] = False,
    draft: Annotated[bool, typer.Option("--draft", help="Open the pull request as a draft.")] = False,
    base: Annotated[
        str | None, typer.Option(help="The branch that the pull request goes to; the cloned one if left out.")
    ] = None,
    title: Annotated[
        str | None, typer.Option(help="The pull request's title; the subject of its commit if left out.")
    ] = None,
    reviewer: Annotated[
        list[str] | None, typer.Option(help="Who is asked to review; may be given again.")
    ] = None,
    pr_label: Annotated[
        list[str] | None, typer.Option("--pr-label", help="Label of the pull request; may be given again.")
    ] = None,
    workflows: Annotated[
        bool,
        typer.Option("--workflows", help="The pull request may change files that the forge runs (CI)."),
    ] = False,
    patch_only: Annotated[
        bool, typer.Option("--patch-only", help="Make no commit: the result is a patch.")
    ] = False,
    author: Annotated[
        str | None,
        typer.Option(help="NAME <EMAIL> of the commit; Git's own identity here if left out."),
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="Where its sandbox runs: local, docker; any unless given.")
    ] = None,
    best_of: Annotated[
        int | None, typer.Option("--best-of", min=2, max=16, help="Try it in so many tasks at once.")
    ] = None,
    agents: Annotated[
        str | None, typer.Option(help="With --best-of: agents that take turns, such as claude,shell.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="With --best-of: a command that judges each result by its exit code."),
    ] = None,
    until: Annotated[
        bool, typer.Option("--until", help="With --best-of: cancel the others when one passes.")
    ] = False,
) -> None:
    """Hand a task to an agent, watch it, and get a commit and its bill."""
    if interactive and (detach or as_json):
        raise CliError("--interactive goes with neither --detach nor --json", Exit.USAGE)
    if no_repo and repo:
        raise CliError("--repo and --no-repo contradict each other", Exit.USAGE)
    if best_of is None and (agents or judge or until):
        raise CliError("--agents, --judge and --until go with --best-of", Exit.USAGE)
    if best_of is not None and pr:
        raise CliError(
            "--pr does not go with --best-of: `rclaude pr TASK` opens the one of the candidate you choose",
            Exit.USAGE,
        )
    if detach and (judge or until):
        raise CliError(
            "--judge and --until need the command to stay: leave --detach out, or judge later with `rclaude compare`",
            Exit.USAGE,
        )
    body: dict[str, Any] = {
        "prompt": prompt_or_input(prompt),
        "priority": priority,
    }
    if agent is not None:
        body["agent"] = agent
    if image is not None:
        body["image"] = image
    if timeout is not None:
        body["timeout_s"] = timeout
    if max_attempts is not None:
        body["max_attempts"] = max_attempts
    if provider is not None:
        body["provider"] = provider
    if model is not None:
        body["model"] = model
    if permission_mode is not None:
        body["permission_mode"] = permission_mode.value
    if given := _agent_options(allowed_tools, mcp_config, system_prompt, append_system_prompt):
        body["agent_options"] = given
    if network is not None:
        body["network"] = network
    if budget is not None:
        body["budget_nano_usd"] = nano_usd(budget)
    if secret:
        body["secrets"] = secret
    if label:
        body["labels"] = labels_of(label)
    options = {
        "draft": draft,
        "base": base,
        "title": title,
        "reviewers": reviewer,
        "labels": pr_label,
        "workflows": workflows,
    }
    if pr:
        body["pull_request"] = {name: value for name, value in options.items() if value}
    elif any(options.values()):
        raise CliError(
            "--draft, --base, --title, --reviewer, --pr-label and --workflows go with --pr", Exit.USAGE
        )
    if patch_only and pr:
        raise CliError("--patch-only makes no commit, so it does not go with --pr", Exit.USAGE)
    if patch_only:
        body["patch_only"] = True
    local = None if no_repo else local_repository(repo)
    if local is not None:
        render.say(f"repository: {local.top}", to_stderr=as_json)
    elif repo:
        render.say(f"repository: {repo}", to_stderr=as_json)
        body["repo"] = {"url": repo, **({"ref": ref} if ref else {})}
    if ref and "repo" not in body:
        raise CliError("--ref goes with the URL of a repository", Exit.USAGE)

    if local is not None:
        preferred, file = preferences(local.top)
        if "agent_options" in preferred and "agent_options" in body:
            body["agent_options"] = preferred["agent_options"] | body["agent_options"]
        body = {**preferred, **body}
        if file == DEVCONTAINER and image is None and "image" in body and provider != "docker":
            render.note(f"the image of {file} is used with --provider docker only: {body.pop('image')}")
    body.setdefault("agent", config.setting("agent") or "claude")
    if (identity := author_of(author, local)) is not None:
        body["author"] = identity
    if include and local is None:
        raise CliError("--include goes with a repository on this disk", Exit.USAGE)

    client = connect_or_start()
    if team is not None:
        from remote_claude.cli.commands.teams import team_id

        body["team"] = team_id(client, team)
    if local is not None:
        body["repo"] = {"bundle": send_repository(client, local, include or ())}
    if best_of is not None:
        tries = agents_of(agents, best_of, body["agent"])
        raise typer.Exit(
            run_candidates(
                client, body, tries, best_of, judge=judge, until=until, detach=detach, as_json=as_json
            )
        )
    if interactive:
        from remote_claude.cli.commands.conversation import converse

        raise typer.Exit(converse(client, hand_over(client, body)["id"]))
    conduct(client, body, detach=detach, as_json=as_json)


def _agent_options(
    allowed_tools: list[str] | None,
    mcp_config: Path | None,
    system_prompt: str | None,
    append_system_prompt: str | None,
) -> dict[str, Any]:
    """What Claude Code is told besides its prompt."""
    options: dict[str, Any] = {
        "allowed_tools": allowed_tools,
        "system_prompt": system_prompt,
        "append_system_prompt": append_system_prompt,
    }
    if mcp_config is not None:
        try:
            options["mcp_servers"] = json.loads(mcp_config.read_bytes())["mcpServers"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CliError(
                f"{mcp_config} is no MCP configuration ({error}): it is JSON with `mcpServers`", Exit.USAGE
            ) from error
    return {name: value for name, value in options.items() if value}
