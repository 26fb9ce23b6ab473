"""`rclaude audit`: who did what in the organisation."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from remote_claude.cli import render
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.session import connect

PAGE = 200
COLUMNS = ("position", "at", "action", "kind", "user", "name", "actor", "address", "agent", "details")


def audit(
    limit: Annotated[int, typer.Option(min=1, help="How many entries, the latest first.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV with a line of column names.")] = False,
) -> None:
    """Show who did what in the organisation, from where, and when."""
    if as_json and as_csv:
        raise CliError("choose one of --json and --csv", Exit.USAGE)
    if as_csv:
        writer = csv.DictWriter(sys.stdout, COLUMNS)
        writer.writeheader()
        for entry in _entries(limit):
            writer.writerow({**entry, "details": json.dumps(entry["details"], sort_keys=True)})
        return
    if as_json:
        for entry in _entries(limit):
            render.say(json.dumps(entry, ensure_ascii=False))
        return
    rows = [
        (
            e["at"][:19].replace("T", " "),
            e["action"],
            e["name"] or e["user"] or e["actor"] or "-",
            e["address"] or "-",
            _details(e["details"]),
        )
        for e in _entries(limit)
    ]
    render.table(("time", "action", "who", "from", "details"), rows, elastic="details")


def _details(details: dict[str, Any]) -> str:
    """`scopes=tasks,org team=team_1`: as people read them. A key's owner may be a team."""
    shown = {
        "team" if key == "user" and str(value).startswith("team_") else key: value
        for key, value in details.items()
    }
    return " ".join(f"{key}={_text(value)}" for key, value in shown.items())


def _text(value: Any) -> str:
    match value:
        case list():
            return ",".join(_text(one) for one in value)
        case dict():
            return ",".join(f"{key}:{_text(one)}" for key, one in value.items())
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def _entries(limit: int) -> Iterator[dict[str, Any]]:
    client = connect()
    before: dict[str, int] = {}
    while limit > 0:
        page = client.get("/v1/org/audit", limit=min(limit, PAGE), **before)
        yield from page["entries"]
        limit -= len(page["entries"])
        if page["next"] is None:
            return
        before = {"before": page["next"]}
