"""Commands about use and money: usage, bill."""

from __future__ import annotations

import csv
import re
import sys
from typing import Annotated

import typer

from remote_claude.cli import render
from remote_claude.cli.commands.tasks import Json
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.session import connect, task_id

Period = Annotated[str | None, typer.Option(help="YYYY-MM; this month if left out.")]


def _month(period: str | None) -> str | None:
    if period is not None and not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", period):
        raise CliError(f"{period!r} is not a month: write the year and the month, as 2026-11", Exit.USAGE)
    return period


def usage(
    period: Period = None,
    by: Annotated[
        str | None, typer.Option(help="day, person, team, repository, label, model, agent or task.")
    ] = None,
    last: Annotated[int, typer.Option(min=1, help="With --by: how many days back.")] = 30,
    as_csv: Annotated[bool, typer.Option("--csv", help="With --by: comma-separated values.")] = False,
    as_json: Json = False,
) -> None:
    """What has been used this month, against what the plan allows; or by what."""
    if by is not None:
        _usage_by(by, last, as_csv, as_json)
        return
    period = _month(period)
    used = connect().get("/v1/usage", period=period)
    if as_json:
        render.emit(used)
        return
    limit = used["executions"]["limit"]
    executions = f"{used['executions']['used']:,} of {'unlimited' if limit is None else format(limit, ',')}"
    render.say(f"plan {used['plan']}, period {used['period']}")
    rows = [("executions", executions)]
    rows += [
        (
            render.meter_name(meter),
            render.quantity(meter, int(used[meter])),
        )
        for meter in ("vcpu_ms", "gib_ms", "egress_bytes", "storage_byte_days", "model_nano_usd")
    ]
    for model, kinds in used["model_tokens"].items():
        rows += [(f"{model} {kind}", f"{count:,} tokens") for kind, count in kinds.items()]
    render.table(("meter", "used"), rows)


def _usage_by(by: str, last: int, as_csv: bool, as_json: bool) -> None:
    found = connect().get(f"/v1/usage/by/{by}", last=last)
    if as_json:
        render.emit(found)
        return
    meters = sorted({meter for group in found["groups"] for meter in group["quantities"]})
    rows = [
        (group["group"] or "", *(group["quantities"].get(meter, 0) for meter in meters))
        for group in found["groups"]
    ]
    if as_csv:
        csv.writer(sys.stdout).writerows([(by, *meters), *rows])
        return
    shown = [
        (row[0], *(render.quantity(meter, int(n)) for meter, n in zip(meters, row[1:], strict=True)))
        for row in rows
    ]
    render.table((by, *map(render.meter_name, meters)), shown)


def bill(
    task: Annotated[
        str | None, typer.Argument(help="One task's share, with the events that it was computed from.")
    ] = None,
    period: Period = None,
    as_json: Json = False,
) -> None:
    """The bill so far, each line the sum of events in the log."""
    period = _month(period)
    client = connect()
    if task is not None:
        document = client.get(f"/v1/tasks/{task_id(task, client)}/bill")
    else:
        document = client.get("/v1/bill", period=period)
    if as_json:
        render.emit(document)
        return
    if task is None:
        render.say(f"plan {document['plan']}, period {document['period']}, prices {document['price_book']}")
    render.bill_lines(document)
    if task is not None:
        rows = [
            (render.quantity(e["meter"], int(e["quantity"])), e["event_id"], str(e["position"]))
            for e in document["events"]
        ]
        render.say()
        render.table(("quantity", "event", "position"), rows, expendable=("position", "quantity"))
