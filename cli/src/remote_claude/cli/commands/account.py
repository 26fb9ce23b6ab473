"""`rclaude account`: what is kept about you, and its end."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remote_claude.cli import render
from remote_claude.cli.config import Target
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.session import client_of, connect
from remote_claude.client import operations

if TYPE_CHECKING:
    from remote_claude.cli.client import CliClient

PAGE = 200

app = typer.Typer(
    no_args_is_help=True, help="What is kept about you: export it, change your name, or delete your account."
)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="The archive to write, such as account.zip.")] = Path(
        "account.zip"
    ),
) -> None:
    """Write everything that is kept about you into one archive."""
    client = connect()
    me = client.get("/v1/me")
    orgs = client.get("/v1/orgs")["orgs"]
    parts: dict[str, Any] = {
        "profile": me,
        "organisations": orgs,
        "identities": client.get("/v1/identities")["identities"],
        "sessions": client.get("/v1/sessions")["sessions"],
    }
    if file.exists():
        raise CliError(f"{file} exists: name another file", Exit.USAGE)
    try:
        with zipfile.ZipFile(file, "x", zipfile.ZIP_DEFLATED) as archive:
            for name, content in parts.items():
                archive.writestr(f"{name}.json", json.dumps(content, indent=1, ensure_ascii=False))
            for org in orgs:
                acting = _acting_for(client.target, org["id"])
                try:
                    _add_organisation(archive, acting, org["id"], me["user"])
                except CliError as error:
                    if error.code not in ("role_missing", "scope_missing"):
                        raise
                    render.note(f"{org['id']}: left out what you may not read there: {error}")
    except OSError as error:
        raise CliError(f"{file} can't be written: {error.strerror}", Exit.USAGE) from error
    render.say(f"{file} holds what is kept about you")


def _add_organisation(archive: zipfile.ZipFile, client: CliClient, org: str, user: str) -> None:
    """What a person has in an organisation. Raises `CliError` where their role or key may not read it."""
    teams = client.get("/v1/org/teams")["teams"]
    parts: dict[str, Any] = {
        "teams": [team for team in teams if user in [member["user"] for member in team["members"]]],
        "keys": [key for key in client.get("/v1/keys")["keys"] if key["user"] == user],
        "secrets": [one for one in client.get("/v1/org/secrets")["secrets"] if one["of"] == "person"],
        "schedules": [one for one in client.get("/v1/schedules")["schedules"] if one["created_by"] == user],
        "triggers": [one for one in client.get("/v1/triggers")["triggers"] if one["created_by"] == user],
        "batches": [one for one in _pages(client, "/v1/batches", "batches") if one["created_by"] == user],
    }
    for name, content in parts.items():
        archive.writestr(f"{org}/{name}.json", json.dumps(content, indent=1, ensure_ascii=False))
    tasks = [
        client.get(f"/v1/tasks/{task['id']}")
        for task in _pages(client, "/v1/tasks", "tasks", submitted_by=user)
    ]
    with archive.open(f"{org}/tasks.jsonl", "w", force_zip64=True) as lines:
        lines.writelines(_line(task) for task in tasks)
    for task in tasks:
        _add_results(archive, f"{org}/tasks/{task['id']}", client, task)


def _acting_for(target: Target, org: str) -> CliClient:
    """The same server, for another organisation. A key of the embedded stack has one."""
    return client_of(replace(target, profile=target.profile and replace(target.profile, org=org)))


def _pages(client: CliClient, path: str, name: str, **query: Any) -> Iterator[dict[str, Any]]:
    """Every entry of a list that comes in pages."""
    cursor: dict[str, str] = {}
    while True:
        page = client.get(path, limit=PAGE, **query, **cursor)
        yield from page[name]
        if page.get("next") is None:
            return
        cursor = {"cursor": page["next"]}


def _add_results(archive: zipfile.ZipFile, folder: str, client: CliClient, task: dict[str, Any]) -> None:
    """What a task has left: its output, frame by frame, and its result as a Git bundle."""
    path, after = f"/v1/tasks/{task['id']}", "0.0"
    with archive.open(f"{folder}/output.jsonl", "w", force_zip64=True) as lines:
        more = True
        while more:
            page = client.get(f"{path}/output", after=after, limit=1000)
            lines.writelines(_line(frame) for frame in page["frames"])
            after, more = page["next"], page["more"]
    with archive.open(f"{folder}/events.jsonl", "w", force_zip64=True) as lines:
        position: int | None = 0
        while position is not None:
            page = client.get(f"{path}/events", after=position, limit=PAGE)
            lines.writelines(_line(event) for event in page["events"])
            position = page["next"]
    if task["result"] and task["result"]["bundle"]:
        archive.writestr(f"{folder}/result.bundle", client.download(f"{path}/bundle"))


def _line(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


@app.command()
def rename(name: Annotated[str, typer.Argument(help="What others see.")]) -> None:
    """Change your name, in every organisation of yours."""
    connect().call(operations.change_profile({"name": name}))
    render.say(f"your name is {name}")


@app.command()
def delete(
    user: Annotated[str, typer.Argument(help="Your id, user_..., to be sure. `rclaude whoami` shows it.")],
) -> None:
    """Delete your account: what your data key seals can't be read again, by nobody. There is no way back."""
    client = connect()
    me = client.get("/v1/session")["user"]
    if user != me:
        raise CliError(f"you are {me}, not {user}: nothing is deleted", Exit.USAGE)
    client.delete("/v1/me")
    render.say(f"{user} is deleted. `rclaude logout` forgets the tokens on this machine")
