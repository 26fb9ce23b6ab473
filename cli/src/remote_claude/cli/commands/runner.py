"""`rclaude runner`: machines of one's own as runners of a stack elsewhere."""

from __future__ import annotations

import json
import os
import platform
import re
import select
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from remote_claude.cli import config, render
from remote_claude.cli.commands.tasks import Json
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.identity.profiles import write_private
from remote_claude.cli.session import connect

runner_app = typer.Typer(
    no_args_is_help=True, help="Machines of your own that run tasks of a server elsewhere."
)

MODULE = "remote_claude.runner.machines"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@runner_app.command("join")
def join(
    url: Annotated[str, typer.Argument(help="Address of the server: https://rclaude.example.com.")],
    name: Annotated[str, typer.Option(help="Of this machine; its host name if left out.")] = "",
    slots: Annotated[int, typer.Option(min=1, help="Tasks at one time.")] = 1,
    vcpu: Annotated[
        float | None, typer.Option(min=0.1, help="Cores of one task; all of them if left out.")
    ] = None,
    memory_mib: Annotated[
        int | None, typer.Option(min=128, help="Memory of one task; all of it if left out.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE, shown with it; may be given again.")
    ] = None,
) -> None:
    """Make this machine a runner of your organisation, until Ctrl-C: then it finishes what runs.

    It needs an API key with the scope `runners`, from RCLAUDE_API_KEY or standard input, and no open port.
    """
    if find_spec("remote_claude.runner") is None:
        raise CliError(
            "what runs tasks is not installed here: pip install 'remote-claude[embedded]'",
            Exit.USAGE,
            code="extra_missing",
        )
    if not re.fullmatch(r"https?://[^/\s]+/?", url):
        raise CliError(f"not an address: {url!r}; one is like https://rclaude.example.com", Exit.USAGE)
    name = name or re.sub(r"[^a-z0-9-]+", "-", platform.node().lower()).strip("-")[:63]
    if not NAME.fullmatch(name):
        raise CliError(f"not a name: {name!r}; take small letters, digits and dashes", Exit.USAGE)
    offered = {
        "url": re.sub("^http", "ws", url.rstrip("/")),
        "home": str(_home()),
        "name": name,
        "slots": slots,
        "vcpu_millis": int((vcpu or os.cpu_count() or 1) * 1000),
        "memory_mib": memory_mib or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20),
        "labels": dict(_pair(text) for text in label or ()),
    }
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", MODULE],
        env={**os.environ, "RCLAUDE_MACHINE": json.dumps(offered), "RCLAUDE_API_KEY": _key()},
        cwd="/",
    )
    write_private(_record(), json.dumps({"pid": process.pid, "url": url, "name": name}))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda asked, _: process.send_signal(asked))
    code = process.wait()
    _record().unlink(missing_ok=True)
    if code:
        raise CliError(
            f"the runner ended with exit code {code}", Exit(code) if code in (3, 130) else Exit.FAILED
        )
    render.say(f"{name} has left {url}")


@runner_app.command("list")
def list_runners(as_json: Json = False) -> None:
    """The machines that have joined your organisation."""
    found = connect().get("/v1/runners")["runners"]
    if as_json:
        render.emit(found)
        return
    rows = [
        (one["name"], one["state"], str(one["slots"]), " ".join(one["agents"]), " ".join(f"{k}={v}" for k, v in one["labels"].items()), " ".join(one["tasks"]) or "-")
        for one in found
    ]  # fmt: skip
    render.table(("machine", "state", "slots", "agents", "labels", "tasks"), rows, elastic="labels")


@runner_app.command("drain")
def drain() -> None:
    """Let the runner of this home take no more tasks; it leaves when those that run have ended."""
    os.kill(_running(), signal.SIGTERM)
    render.say("it takes no more tasks")


@runner_app.command("leave")
def leave() -> None:
    """The same, and wait until it has left."""
    process = os.pidfd_open(_running())
    signal.pidfd_send_signal(process, signal.SIGTERM)
    select.select([process], [], [])  # readable once it has ended
    render.say("left")


def _home() -> Path:
    return config.home() / "machine"


def _record() -> Path:
    return _home() / "joined.json"


def _running() -> int:
    """The process of `join`. Raises `CliError` where none runs."""
    try:
        pid = int(json.loads(_record().read_text())["pid"])
    except (OSError, ValueError, KeyError):
        pid = 0
    if not pid or not Path(f"/proc/{pid}").exists():
        raise CliError(
            "this machine has not joined anything: `rclaude runner join URL`", Exit.USAGE, code="not_joined"
        )
    return pid


def _pair(text: str) -> tuple[str, str]:
    key, is_pair, value = text.partition("=")
    if not is_pair or not key:
        raise CliError(f"not KEY=VALUE: {text!r}", Exit.USAGE)
    return key, value


def _key() -> str:
    key = os.environ.get("RCLAUDE_API_KEY", "")
    if not key:
        asked = sys.stdin.isatty()
        key = typer.prompt("API key", hide_input=True, err=True) if asked else sys.stdin.readline().strip()
    config.check("api_key", key)
    return str(key)
