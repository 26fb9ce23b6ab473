"""What a start of `rclaude` reads, and what it leaves for later."""

import json
import subprocess
import sys

import typer

from remote_claude.cli.app import app
from remote_claude.cli.command_table import COMMANDS

LATER = {
    "asyncio", "decimal", "hashlib", "http.client", "http.server", "httpx2", "rich", "ssl", "websockets",
    "remote_claude.cli.client", "remote_claude.cli.commands",
    "remote_claude.cli.embedded", "remote_claude.cli.identity", "remote_claude.cli.repository",
}  # fmt: skip
"""Modules that the list of commands does not need: together they take longer than all of it."""


def loaded_by(*arguments: str) -> set[str]:
    """The modules that a command line has read when it ends."""
    code = (
        "import atexit, json, sys;"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr));"
        f"sys.argv = ['rclaude', *{arguments!r}];"
        "from remote_claude.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr))


def test_the_list_of_commands_reads_no_command() -> None:
    assert not loaded_by("--help") & LATER


def test_the_help_of_a_command_reads_no_http_library() -> None:
    loaded = loaded_by("show", "--help")
    assert "remote_claude.cli.commands.tasks" in loaded
    assert not loaded & {"httpx2", "ssl", "websockets", "remote_claude.cli.commands.run"}


def test_the_list_of_commands_says_what_the_commands_say() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group
    said = {name: command.get_short_help_str(500) for name, command in commands.items()}
    assert said == {name: entry.help for name, entry in COMMANDS.items()}
