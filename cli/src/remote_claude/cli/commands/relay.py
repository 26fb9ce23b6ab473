"""`rclaude relay`: a meeting point for workers, and a stack without a public address."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from remote_claude.cli.errors import CliError, Exit

MODULE = "remote_claude.worker.relay"


def relay(
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 8443,
) -> None:
    """Let workers meet a stack that has no public address. RCLAUDE_RELAY_TOKEN is what the stack shows.

    It keeps nothing. Put TLS in front of it.
    """
    if find_spec("remote_claude.worker") is None:
        raise CliError(
            "the relay is not installed here: pip install 'remote-claude[embedded]'",
            Exit.USAGE,
            code="extra_missing",
        )
    process = subprocess.Popen([sys.executable, "-P", "-m", MODULE, "--host", host, "--port", str(port)])
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        code = 0
    if code:
        raise CliError(f"the relay ended with exit code {code}", Exit.USAGE if code == 2 else Exit.FAILED)
