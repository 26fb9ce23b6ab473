"""`rclaude-admin` imports what a command works with once it is run: help and usage need none of it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version

import pytest

HEAVY = {
    "asyncio", "cryptography", "fastapi", "nats", "obstore", "opentelemetry", "psycopg", "sqlalchemy",
    "sqlmodel", "structlog", "uvicorn", "httpx2", "rich.progress",
    "remote_claude.runtime.host", "remote_claude.contracts.registry", "remote_claude.runtime.archive",
}  # fmt: skip


def run(*arguments: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """What the command answers, and the modules that it imported."""
    call = f"import sys; sys.argv = {['rclaude-admin', *arguments]!r}; from remote_claude.runtime.admin.command_line import main; main()"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", call], capture_output=True, text=True, check=False
    )
    return done, set(re.findall(r"^import time:.*\| +([\w.]+)$", done.stderr, re.MULTILINE))


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (("--help",), 0),
        (("--version",), 0),
        (("key", "issue", "--help"), 0),
        (("billing", "--help"), 0),
        (("log", "export", "--from", "5", "--until", "4", "x"), 2),
        (("log", "read", "--nonsense"), 2),
        (("plan", "set"), 2),
    ],
)
def test_what_needs_no_server_imports_no_server_library(arguments: tuple[str, ...], exit_code: int) -> None:
    done, imported = run(*arguments)
    assert done.returncode == exit_code, done.stderr[-2000:]
    assert "typer" in imported
    assert imported & HEAVY == set()


def test_version_is_the_distribution_s() -> None:
    done, _ = run("--version")
    assert done.stdout == f"rclaude-admin {version('remote-claude-shared')}\n"
