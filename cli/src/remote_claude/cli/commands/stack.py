"""Commands about the stack: up, down, status, doctor."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remote_claude.cli import config, embedded, machine, release, render
from remote_claude.cli.commands.tasks import Json
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.identity import local_orgs
from remote_claude.cli.machine import Level, MachineCheck
from remote_claude.cli.session import check_task_id, client_of, connect, not_running
from remote_claude.cli.terminal import safe_text

if TYPE_CHECKING:
    from remote_claude.cli.client import CliClient


class Isolation(StrEnum):
    """How agents are kept from the rest of this machine."""

    BUBBLEWRAP = "bubblewrap"
    NONE = "none"


def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when it is ready; it goes on.")
    ] = False,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the HTTP API.")] = None,
    isolation: Annotated[
        Isolation | None,
        typer.Option(help="`none` runs agents unprotected, as you: only where nothing else works."),
    ] = None,
) -> None:
    """Bring the embedded stack up: broker, PostgreSQL and all services, on this machine."""
    running = config.stack_file()
    if running is not None:
        render.say(f"running already at {running['url']}")
        return
    if detach:
        stack = embedded.start(port, isolation)
        render.say(f"ready at {stack['url']}")
        _ready()
        return
    embedded.check_file()
    code = embedded.foreground(port, isolation, _ready)
    if code == embedded.ALREADY_RUNNING:
        return
    if code:
        raise CliError(f"the stack ended with exit code {code}", Exit.FAILED)


def _ready() -> None:
    """What is printed once the stack is ready: the dashboard's address, and a plan that this machine is too small for."""
    print_link()
    try:
        status = connect().get("/v1/status")
    except CliError:
        return  # the stack is up; `rclaude doctor` says what is wrong
    for plan in _plans_without_runner(status):
        render.note(f"plan {plan['plan']}: {plan['detail']}")


def _plans_without_runner(status: dict[str, Any]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = status["services"].get("scheduler", {}).get("plans_without_runner", [])
    return found


def print_link() -> None:
    """Say how to see the dashboard. A stack whose link can't be had is still up."""
    try:
        render.say(f"dashboard, signed in by a link that is good once: {sign_in_link()}")
    except CliError as error:
        render.note(f"no link to the dashboard: {error}; `rclaude open` tries again")


def sign_in_link() -> str:
    """A link that signs a browser in as the owner of this key, once. Raises `CliError`."""
    target = config.target()
    if target is None:
        raise not_running()
    return str(client_of(target).post("/v1/session/links")["url"])


def open_dashboard(
    task: Annotated[str | None, typer.Argument(help="A task to open; the list of tasks if left out.")] = None,
    print_only: Annotated[bool, typer.Option("--print", help="Print the link; open no browser.")] = False,
) -> None:
    """Open the dashboard, or one task in it, in a browser."""
    import webbrowser
    from urllib.parse import quote

    target = config.target()
    if task is not None:
        check_task_id(task)
    path = f"/tasks/{task}" if task is not None else "/"
    if target is None:
        raise not_running()
    if target.profile is not None:
        org = target.profile.org
    else:
        org = None if config.setting("api_key") else local_orgs.current()
    page = path + (f"?org={org}" if org else "")
    link = f"{target.url}{page}"
    if target.profile is None:
        try:
            link = sign_in_link() + (f"&next={quote(page, safe='')}" if page != "/" else "")
        except CliError as error:
            if error.code != "scope_missing":
                raise
            render.note("this API key signs no browser in: sign in there yourself")
    if print_only or not webbrowser.open(link):
        print(link)


def down() -> None:
    """Take the embedded stack down. What runs is given back and goes on at the next start."""
    render.say("stopped" if embedded.stop() else "nothing was running")


def status(as_json: Json = False) -> None:
    """Where the stack is, what runs, and how far its views are."""
    stack = config.stack_file()
    target = config.target()
    if target is None:
        if as_json:
            render.emit({"state": "stopped", "home": str(config.home())})
        raise not_running()
    server: dict[str, Any] = {}
    problem: CliError | None = None
    try:
        server = client_of(target).get("/v1/status")
    except CliError as error:
        problem = error
    document = _document(stack, target.url, server)
    if as_json:
        render.emit(document)
    else:
        _print(document)
    if problem is not None:
        raise problem


def _document(stack: dict[str, Any] | None, url: str, server: dict[str, Any]) -> dict[str, Any]:
    services = server.get("services", {})
    document = {
        "state": "running" if server else "not ready",
        "url": url,
        "version": server.get("version"),
        "position": server.get("position"),
        "log": server.get("log"),
        "archive": server.get("archive"),
        "services": services,
    }
    if stack is None:
        return document
    workers = services.get("runner", {}).get("workers", [])
    return {
        **document,
        "home": stack["home"],
        "version": stack["version"],
        "api_key": stack["api_key"],
        "org": stack["org"],
        "nats": {"url": stack["nats_url"], "credentials": stack["nats_credentials"]},
        "postgres": {"dsn": stack["postgres_dsn"]},
        "pids": {**stack["pids"], "workers": workers},
    }


def _print(document: dict[str, Any]) -> None:
    render.say(f"{document['state']} at {document['url']}, version {document['version']}")
    rows: list[tuple[str, str, str]] = []
    for name, service in document["services"].items():
        state = service["state"] + (f" ({service['reason']})" if service.get("reason") else "")
        first, *others = [f"{view} {v['lag']}" for view, v in service.get("views", {}).items()] or ["-"]
        rows += [(name, state, first), *(("", "", view) for view in others)]
    render.table(("service", "state", "views and their lag"), rows, elastic="state")
    if (log := document["log"]) and log["reason"]:
        render.say(f"log: {log['state']} ({log['reason']})")
    if archive := document["archive"]:
        why = f" ({archive['reason']})" if archive["reason"] else ""
        render.say(f"archive: {archive['state']}{why}, lags {archive['lag']}")
    if "pids" in document:
        render.say(
            "processes: " + ", ".join(f"{name} {_pids(pid)}" for name, pid in document["pids"].items())
        )


def _pids(of: int | list[int]) -> str:
    return " ".join(map(str, of)) or "none" if isinstance(of, list) else str(of)


def doctor(
    security: Annotated[
        bool,
        typer.Option("--security", help="Check what protects the stack instead: ports, files, keys, TLS."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check what this machine needs, and say what to do about what is missing."""
    found = security_checks() if security else checks()
    if as_json:
        render.emit(
            [{"check": c.name, "ok": c.level == "ok", "level": c.level, "detail": c.detail} for c in found]
        )
    else:
        for check in found:
            print(f"{render.coloured(*MARKS[check.level])}  {check.name}: {safe_text(check.detail)}")
    if any(check.level == "failed" for check in found):
        raise typer.Exit(Exit.FAILED)


def security_checks() -> list[MachineCheck]:
    """What `doctor --security` checks. A server that does not answer is left out."""
    from remote_claude.cli import security

    try:
        target = config.target()
    except CliError as error:
        return [MachineCheck("configuration", "failed", str(error))]
    return list(security.checks(client_of(target) if target is not None else None))


MARKS: dict[Level, tuple[str, str]] = {
    "ok": ("ok  ", "green"),
    "note": ("note", "yellow"),
    "failed": ("FAIL", "red"),
}
WAITING_SHOWN = 5
"""So many of the tasks that wait are in a check."""


def checks() -> list[MachineCheck]:
    """What `doctor` checks, in its order."""
    found = [MachineCheck("python", _level(sys.version_info >= (3, 11)), platform.python_version())]
    git = shutil.which("git")
    if git:
        version = subprocess.run(
            [git, "--version"], capture_output=True, text=True, check=False
        ).stdout.strip()
        found.append(MachineCheck("git", "ok", version))
    else:
        found.append(MachineCheck("git", "failed", "not found; on Debian: apt-get install git"))
    found.append(MachineCheck("rclaude", "ok", release()))
    try:
        target = config.target()
    except CliError as error:
        return [*found, MachineCheck("configuration", "failed", str(error))]
    if (target is None or target.supervised) and machine.is_installed():
        found += machine.checks(config.home(), running=target is not None)
    if target is None:
        if config.holder() is not None:
            return [*found, MachineCheck("server", "failed", str(not_running()))]
        return [
            *found,
            MachineCheck("server", "ok", f"nothing runs in {config.home()}; `rclaude run` starts it"),
        ]
    client = client_of(target)
    try:
        status = client.get("/v1/status")
    except CliError as error:
        return [*found, MachineCheck("server", "failed", str(error))]
    services, event_log = status["services"], status["log"]
    found.append(MachineCheck("server", "ok", target.url))
    found.append(
        MachineCheck("log", _level(event_log["state"] == "ready"), event_log["reason"] or event_log["state"])
    )
    found += [
        MachineCheck(
            f"service {name}", _level(service["state"] == "ready"), service.get("reason") or service["state"]
        )
        for name, service in services.items()
    ]
    found += [
        MachineCheck(f"agent {agent['name']}", "note" if agent["reason"] else "ok", _availability(agent))
        for agent in services.get("runner", {}).get("agents", [])
    ]
    found += [MachineCheck(f"plan {p['plan']}", "note", p["detail"]) for p in _plans_without_runner(status)]
    return [*found, _waiting(client)]


def _availability(agent: dict[str, Any]) -> str:
    state = "available" if agent["available"] else "not available"
    return f"{state}: {agent['reason']}" if agent["reason"] else state


def _waiting(client: CliClient) -> MachineCheck:
    """What waits, and why."""
    try:
        tasks = client.get("/v1/tasks", state=["submitted", "queued"], limit=200)["tasks"]
    except CliError as error:
        return MachineCheck("waiting tasks", "note", f"not known: {error}")
    waiting = [f"{task['id']}: {render.explanation(task)}" for task in tasks if task.get("waiting")]
    if not waiting:
        return MachineCheck("waiting tasks", "ok", "none")
    more = f"; and {len(waiting) - WAITING_SHOWN} more" if len(waiting) > WAITING_SHOWN else ""
    return MachineCheck("waiting tasks", "note", "; ".join(waiting[:WAITING_SHOWN]) + more)


def _level(holds: bool) -> Level:
    return "ok" if holds else "failed"
