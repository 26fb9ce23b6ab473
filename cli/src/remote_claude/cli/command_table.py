"""The commands by name. A command's module is read when the command is called: help and completion stay quick."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException


class CommandEntry(NamedTuple):
    """Where a command is, below `remote_claude.cli.commands`, and the line that the list of commands has about it."""

    module: str
    attribute: str
    help: str


COMMANDS = {
    "run": CommandEntry("run", "run", "Hand a task to an agent, watch it, and get a commit and its bill."),
    "resume": CommandEntry(
        "resuming",
        "resume",
        "Go on with a task that has ended, as a new task: the same files, the same conversation.",
    ),
    "batch": CommandEntry(
        "batch",
        "batch",
        "Hand over the tasks of a file in one request, follow them to their ends, and sum them up.",
    ),
    "batches": CommandEntry("batch", "batches", "List batches, newest first."),
    "list": CommandEntry("tasks", "list_tasks", "List tasks, newest first."),
    "show": CommandEntry("tasks", "show", "Show one task: state, usage, result, cost."),
    "logs": CommandEntry("tasks", "logs", "Print what the agent did."),
    "wait": CommandEntry(
        "tasks", "wait", "Wait until a task has ended; ends with the exit code of its state."
    ),
    "send": CommandEntry("tasks", "send", "Send a message to a task that runs."),
    "answer": CommandEntry(
        "tasks", "answer", "Answer what the agent of a task asks a permission for: allow, always, deny."
    ),
    "attach": CommandEntry(
        "conversation", "attach", "Talk with the agent of a task: what it did, then what it does."
    ),
    "shell": CommandEntry(
        "looking_in", "shell", "Open a terminal in the sandbox of a task; Ctrl-] leaves it."
    ),
    "port": CommandEntry(
        "looking_in", "port", "Bring a port of the sandbox to this machine's loopback, until Ctrl-C."
    ),
    "cancel": CommandEntry("tasks", "cancel", "Ask for the end of a task."),
    "diff": CommandEntry("tasks", "diff", "Print the agent's change as a patch."),
    "artifacts": CommandEntry(
        "artifacts", "artifacts", "List or download what a task left in its folder $RCLAUDE_ARTIFACTS."
    ),
    "apply": CommandEntry(
        "tasks", "apply", "Bring the agent's commit over to the current branch; a patch is staged."
    ),
    "pr": CommandEntry(
        "pull_requests",
        "pr",
        "Open the pull request of a task, or try again; `pr fix URL` lets the agent work on its review and checks.",
    ),
    "push": CommandEntry(
        "hand_off", "push", "Hand the Claude Code session of this folder to a task, with the working tree."
    ),
    "pull": CommandEntry(
        "hand_off", "pull", "Bring the change and the conversation of a task to this folder."
    ),
    "schedule": CommandEntry("starters", "schedule_app", "Schedules: tasks that are submitted at set times."),
    "trigger": CommandEntry(
        "starters", "trigger_app", "Triggers: comments and labels on a forge that start tasks."
    ),
    "compare": CommandEntry(
        "best_of", "compare", "Show the candidates of a group side by side, the best first."
    ),
    "usage": CommandEntry(
        "money", "usage", "What has been used this month, against what the plan allows; or by what."
    ),
    "bill": CommandEntry("money", "bill", "The bill so far, each line the sum of events in the log."),
    "budget": CommandEntry("policy", "budget_app", "What models may cost in a month: show, set."),
    "billing": CommandEntry("billing", "app", "Plans, invoices, and the evidence for them."),
    "mcp": CommandEntry(
        "mcp",
        "mcp",
        "Serve tasks to clients of the Model Context Protocol, such as editors and other agents.",
    ),
    "up": CommandEntry(
        "stack", "up", "Bring the embedded stack up: broker, PostgreSQL and all services, on this machine."
    ),
    "down": CommandEntry("stack", "down", "Take the embedded stack down."),
    "share": CommandEntry("sharing", "app", "Links with which anyone may read one task."),
    "open": CommandEntry("stack", "open_dashboard", "Open the dashboard, or one task in it, in a browser."),
    "status": CommandEntry("stack", "status", "Where the stack is, what runs, and how far its views are."),
    "doctor": CommandEntry(
        "stack", "doctor", "Check what this machine needs, and say what to do about what is missing."
    ),
    "login": CommandEntry("identity", "login", "Sign in at a server."),
    "logout": CommandEntry(
        "identity", "logout", "Sign out: end the session on the server, and forget its tokens here."
    ),
    "whoami": CommandEntry(
        "identity", "whoami", "Show who you are, where, and for which organisation you act."
    ),
    "account": CommandEntry(
        "account", "app", "What is kept about you: export it, change your name, or delete your account."
    ),
    "audit": CommandEntry("audit", "audit", "Show who did what in the organisation, from where, and when."),
    "org": CommandEntry("organisations", "org_app", "Organisations: list, switch, create, members."),
    "repo": CommandEntry(
        "repositories", "repo_app", "Repositories on a forge: connect, disconnect, list, search."
    ),
    "key": CommandEntry("organisations", "key_app", "API keys of the organisation."),
    "secret": CommandEntry(
        "secrets",
        "secret_app",
        "Secrets that tasks use: the sandbox has placeholders, the value goes to named hosts.",
    ),
    "model": CommandEntry(
        "secrets", "model_app", "Keys of your own for a model; what they cost is not on the bill."
    ),
    "webhook": CommandEntry("webhooks", "app", "Webhooks: addresses that get a request when a task ends."),
    "service-account": CommandEntry(
        "organisations", "account_app", "Service accounts: API keys that belong to no person."
    ),
    "profile": CommandEntry("identity", "profile_app", "The servers that you are signed in at."),
    "provider": CommandEntry(
        "providers", "provider_app", "Where tasks run: compute providers and their credentials."
    ),
    "relay": CommandEntry("relay", "relay", "Let workers meet a stack that has no public address."),
    "runner": CommandEntry(
        "runner", "runner_app", "Machines of your own that run tasks of a server elsewhere."
    ),
    "init": CommandEntry(
        "self_hosted",
        "init",
        "Choose where tasks run, make what they need there, and let this machine's stack use it.",
    ),
    "upgrade": CommandEntry(
        "self_hosted",
        "upgrade",
        "Bring what this home has made in a cloud up to the templates of this release.",
    ),
    "destroy": CommandEntry(
        "self_hosted", "destroy", "Remove all that this home has made in a cloud account."
    ),
    "support": CommandEntry(
        "support", "app", "Support: tickets, and what is needed to find a fault, without secrets."
    ),
    "self": CommandEntry("self_update", "self_app", "This program itself: update it."),
    "config": CommandEntry("settings", "configure", "Show, set or forget a setting."),
}


WITH_TEXT = ("run", "resume", "send")
"""Commands whose last argument is a text."""


class LazyCommands(MutableMapping[str, Any]):
    """Name to command, built when it is asked for."""

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            entry = COMMANDS[name]
            module = import_module(f"remote_claude.cli.commands.{entry.module}")
            self._built[name] = _command(name, getattr(module, entry.attribute))
        return self._built[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._built[name] = command

    def __delitem__(self, name: str) -> None:
        del self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class CommandTable(TyperGroup):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": None})
        self.commands = LazyCommands()

    def invoke(self, ctx: Any) -> Any:
        """Run the command; words left over after a prompt are most likely a prompt without quotes."""
        try:
            return super().invoke(ctx)
        except TyperException as error:
            if ctx.invoked_subcommand in WITH_TEXT and "unexpected extra argument" in str(
                getattr(error, "message", "")
            ):
                error.message += ": put a text of several words in quotes."
            raise

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of commands, from the table alone."""
        limit = formatter.width - 6 - max(map(len, COMMANDS))
        rows = [
            (name, TyperCommand(name=name, help=entry.help).get_short_help_str(limit))
            for name, entry in COMMANDS.items()
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _command(name: str, target: Any) -> Any:
    """The command of a function, or the group of a `Typer`."""
    is_group = isinstance(target, typer.Typer)
    whole = target if is_group else typer.Typer()
    if not is_group:
        whole.command(name)(target)
    whole._add_completion, whole.rich_markup_mode = False, None  # those of the whole command line hold
    command = typer.main.get_group(whole) if is_group else typer.main.get_command(whole)
    command.name = name
    return command
