"""`rclaude support bundle`: what helps to find a fault, in one file, without secrets.

Only what is listed here goes in, and every text goes through `redacted` first. Prompts, output, repositories and the values
of settings are never read.
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import tarfile
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated, Any

import typer

from remote_claude.cli import config, render
from remote_claude.cli.commands import stack
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.session import connect

app = typer.Typer(no_args_is_help=True, help="Help with a fault: what is needed to find it, without secrets.")

LOG_LINES = 2000
LOGS = ("services.log", "nats.log", "postgres.log")
_SECRETS = (
    re.compile(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|$)", re.DOTALL),
    re.compile(r"(?i)\b(?:bearer|basic)\s+[\w.~+/=-]{8,}"),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"),
    re.compile(r"\b(?:rck|rct|sk|pk|rk|whsec|ghp|gho|ghs|ghu|github_pat|glpat|xox[abpr]|AKIA|ASIA|AIza)[-_]?[\w-]{12,}"),
    re.compile(r"(?<=://)[^/\s@\"]+:[^/\s@\"]+(?=@)"),
    re.compile(r"(?i)(?<=[?&])(?:token|key|secret|code|state|password|ticket)=[^&\s\"]+"),
    re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    re.compile(r"\b[\w+/-]{40,}={0,2}(?![\w-])"),
)  # fmt: skip
_NAMED = re.compile(
    r"""(?ix) (["']? [\w-]* (?:secret|token|password|passwd|api_?key|seed|credential|authorization|cookie) [\w-]* ["']? \s* [=:] \s*)
    ("(?:[^"\\]|\\.)*" | '[^']*' | [^\s,;}]+)"""
)
"""A name that sounds like a secret, and its value."""


def redacted(text: str) -> str:
    """The text with everything that looks like a credential or an e-mail address replaced."""
    for pattern in _SECRETS:
        text = pattern.sub("[removed]", text)
    return _NAMED.sub(r'\1"[removed]"', text)


@app.command()
def bundle(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")] = Path(
        "rclaude-support.tar.gz"
    ),
) -> None:
    """Write versions, checks, status and the end of the logs into one file. Look into it before you send it."""
    if file.exists():
        raise CliError(f"{file} exists already: name another file", Exit.USAGE)
    parts: dict[str, str] = {
        "versions.json": _json({d.name: d.version for d in distributions() if d.name}),
        "machine.json": _json(
            {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()}
        ),
        "settings.json": _json(sorted(name for name in os.environ if name.startswith("RCLAUDE_"))),
        "checks.json": _attempted(
            lambda: [{"check": c.name, "level": c.level, "detail": c.detail} for c in stack.checks()]
        ),
        "status.json": _attempted(lambda: connect().get("/v1/status")),
    }
    for name in LOGS:
        path = config.home() / "log" / name
        if path.is_file():
            parts[f"log/{name}"] = "".join(
                path.read_text(errors="replace").splitlines(keepends=True)[-LOG_LINES:]
            )
    with tarfile.open(file, "x:gz") as archive:
        for name, text in parts.items():
            content = redacted(text).encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o600
            archive.addfile(entry, io.BytesIO(content))
    file.chmod(0o600)
    render.say(f"{file}: {', '.join(parts)}. Look into it before you send it.")


def _attempted(look: Callable[[], Any]) -> str:
    """What was found, or why nothing was: a bundle is for when things fail."""
    try:
        return _json(look())
    except CliError as error:
        return _json({"error": str(error)})


def _json(document: Any) -> str:
    return json.dumps(document, indent=1, default=str) + "\n"
