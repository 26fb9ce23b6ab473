"""`rclaude support`: tickets, and what helps to find a fault, in one file, without secrets.

Of the bundle: only what is listed here goes in, and every text goes through `redacted` first. Prompts, output, repositories and the values
of settings are never read.
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import sys
import tarfile
from base64 import b64encode
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated, Any

import typer

from remote_claude.cli import config, render
from remote_claude.cli.commands import stack
from remote_claude.cli.commands.tasks import Json
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.session import connect

app = typer.Typer(
    no_args_is_help=True, help="Support: tickets, and what is needed to find a fault, without secrets."
)
TicketId = Annotated[str, typer.Argument(help="The ticket, ticket_....")]
MAX_BUNDLE_BYTES = 512 * 1024

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
    parts = _parts()
    file.touch(mode=0o600)
    file.write_bytes(_packed(parts))
    render.say(f"{file}: {', '.join(parts)}. Look into it before you send it.")


@app.command("open")
def open_ticket(
    title: Annotated[str, typer.Argument(help="What it is about, in one line.")],
    text: Annotated[str, typer.Argument(help="What happens, and what you expect; - reads standard input.")],
    task: Annotated[str | None, typer.Option(help="The task that it is about.")] = None,
    with_bundle: Annotated[
        bool, typer.Option("--bundle", help="Attach what `rclaude support bundle` writes.")
    ] = False,
) -> None:
    """Open a ticket at the operator and print its id. The plan says whether there are tickets."""
    body: dict[str, Any] = {"title": title, "text": _text(text), "task": task}
    if with_bundle:
        packed = _packed(_parts())
        if len(packed) > MAX_BUNDLE_BYTES:
            raise CliError(
                f"the bundle has {len(packed)} bytes, and {MAX_BUNDLE_BYTES} fit: write it with "
                "`rclaude support bundle`, and ask in the ticket where to send it",
                Exit.USAGE,
            )
        body["bundle"] = b64encode(packed).decode()
    render.say(connect().post("/v1/org/tickets", body)["id"])


@app.command("list")
def list_tickets(as_json: Json = False) -> None:
    """Show the tickets of the organisation, the latest first; a member sees their own."""
    tickets = connect().get("/v1/org/tickets")["tickets"]
    if as_json:
        render.emit(tickets)
        return
    rows = [
        (
            one["id"],
            "closed" if one["closed_at"] else "answered" if one["answered"] else "waits",
            one["support"],
            one["opened_at"][:10],
            one["title"] or "-",
        )
        for one in tickets
    ]
    render.table(("ticket", "state", "support", "opened", "title"), rows, elastic="title")


@app.command("show")
def show_ticket(ticket: TicketId, as_json: Json = False) -> None:
    """Show a ticket with its messages."""
    found = connect().get(f"/v1/org/tickets/{ticket}")
    if as_json:
        render.emit(found)
        return
    render.say(f"{found['id']}  {found['title']}")
    for message in found["messages"]:
        render.say(f"\n{message['at'][:16]}  {message['by'] or 'operator'}\n{message['text']}")


@app.command("answer")
def answer_ticket(
    ticket: TicketId, text: Annotated[str, typer.Argument(help="The message; - reads standard input.")]
) -> None:
    """Add a message to a ticket that is open."""
    connect().post(f"/v1/org/tickets/{ticket}/messages", {"text": _text(text)})
    render.say(f"your message is in {ticket}")


@app.command("close")
def close_ticket(ticket: TicketId) -> None:
    """Close a ticket: it takes no more messages."""
    connect().post(f"/v1/org/tickets/{ticket}/close", {})
    render.say(f"{ticket} is closed")


def _text(argument: str) -> str:
    return sys.stdin.read() if argument == "-" else argument


def _parts() -> dict[str, str]:
    """The files of a bundle by name, before anything is removed from them."""
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
    return parts


def _packed(parts: dict[str, str]) -> bytes:
    """A compressed archive of the files, without what looks like a credential."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in parts.items():
            content = redacted(text).encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o600
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _attempted(look: Callable[[], Any]) -> str:
    """What was found, or why nothing was: a bundle is for when things fail."""
    try:
        return _json(look())
    except CliError as error:
        return _json({"error": str(error)})


def _json(document: Any) -> str:
    return json.dumps(document, indent=1, default=str) + "\n"
