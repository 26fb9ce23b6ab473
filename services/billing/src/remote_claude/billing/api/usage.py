"""Usage, bills, and the events that both are computed from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from psycopg import AsyncConnection
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from remote_claude.access.principal import Principal
from remote_claude.billing.api.models import (
    BatchBillAnswer,
    BatchTaskCost,
    BillAnswer,
    BillEventPage,
    BillLine,
    Executions,
    TaskBillAnswer,
    TaskBillLine,
    UsageAnswer,
)
from remote_claude.billing.domain.bill import Bill
from remote_claude.billing.domain.rating import Key, Line
from remote_claude.billing.projections import bills
from remote_claude.billing.projections.usage import UsageView
from remote_claude.contracts.periods import CALENDAR, period_at
from remote_claude.contracts.prices import Meter
from remote_claude.edge.caller import Caller
from remote_claude.edge.freshness import MAX_POSITION, Freshness
from remote_claude.edge.models import problems
from remote_claude.edge.problems import Problem
from remote_claude.eventsourcing.postgres.tables import query_for
from remote_claude.runtime.ids import is_id
from remote_claude.runtime.service import Runtime

TASK_EVENTS = 1000
NOT_SHARED = ("subscription", "minimum")
"""Lines of the organisation that no task has a part in."""

PERIOD = r"^[0-9]{4}-(0[1-9]|1[0-2])(-[0-3][0-9])?$"


def _period_id(text: str | None) -> str | None:
    if text is not None and re.fullmatch(PERIOD, text) is None:
        raise PydanticCustomError(
            "period",
            "A period is a month, such as 2026-11, or the date that it begins on, such as 2026-11-15.",
        )
    return text


PeriodId = Annotated[
    str | None,
    AfterValidator(_period_id),
    Query(
        json_schema_extra={"pattern": PERIOD},
        description="`YYYY-MM`, or the date that it begins on; the current one if left out",
    ),
]


def add_routes(api: APIRouter, runtime: Runtime, fresh: Freshness) -> None:
    """The routes `/v1/usage`, `/v1/bill`, `/v1/tasks/{task}/bill` and `/v1/batches/{batch}/bill`."""
    reads: dict[str, Any] = {"dependencies": [Depends(fresh)], "responses": problems(401, 403, 404, 503)}

    async def opened(connection: AsyncConnection[Any], org: str, name: str | None) -> Bill:
        if name is None:
            account = await bills.plan(connection, org)
            name = period_at(account[1] if account else CALENDAR, runtime.clock()).id
        found = await bills.period_bill(connection, org, name)
        if found is None:
            raise Problem(
                404, "period_not_found", f"No billing period {name} has been opened for this organisation."
            )
        return found

    async def known(who: Principal, task: str) -> bool:
        async with query_for(runtime.pool, UsageView, who.org) as connection:
            return await bills.sees_task(connection, who, task)

    @api.get("/usage", operation_id="get_usage", **reads)
    async def get_usage(principal: Caller, period: PeriodId = None) -> UsageAnswer:
        """What the organisation has used in a period, against what its plan allows."""
        position = fresh.as_of
        async with query_for(runtime.pool, UsageView, principal.org) as connection:
            bill = await opened(connection, principal.org, period)
            plan, _, entitlements = await bills.plan(connection, principal.org) or (None, None, None)
        used = bill.quantities()
        tokens: dict[str, dict[str, int]] = {}
        for key, count in used.items():
            if key.meter in ("model_tokens", "customer_model_tokens"):
                kinds = tokens.setdefault(key.model or "", {})
                kinds[key.token or ""] = kinds.get(key.token or "", 0) + count
        shown = (
            "vcpu_ms",
            "gib_ms",
            "egress_bytes",
            "storage_byte_days",
            "model_nano_usd",
            "customer_model_nano_usd",
        )
        return UsageAnswer(
            org=principal.org,
            plan=plan,
            period=bill.period,
            starts_at=bill.starts_at,
            ends_at=bill.ends_at,
            executions=Executions(
                used=used.get(Key("executions"), 0),
                limit=entitlements.executions_per_month if entitlements else None,
            ),
            **{meter: used.get(Key(meter), 0) for meter in shown},
            model_tokens=dict(sorted(tokens.items())),
            as_of=position,
        )

    @api.get("/bill", operation_id="get_bill", **reads)
    async def get_bill(principal: Caller, period: PeriodId = None) -> BillAnswer:
        """The current bill of a period: its lines, each with the number of its events."""
        position = fresh.as_of
        async with query_for(runtime.pool, UsageView, principal.org) as connection:
            bill = await opened(connection, principal.org, period)
            plan, _, _ = await bills.plan(connection, principal.org) or (None, None, None)
        return BillAnswer(
            org=principal.org,
            plan=plan,
            period=bill.period,
            starts_at=bill.starts_at,
            ends_at=bill.ends_at,
            currency=bill.currency,
            price_book=bill.price_versions(),
            lines=[BillLine.of(line, bill.events(line)) for line in bill.lines],
            total_nano_usd=bill.total_nano,
            as_of=position,
        )

    @api.get("/bill/events", operation_id="get_bill_events", **reads)
    async def get_bill_events(
        principal: Caller,
        meter: Meter,
        period: PeriodId = None,
        after: Annotated[int, Query(ge=0, le=MAX_POSITION, description="Events after this position")] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> BillEventPage:
        """The events that the lines of a meter are the sum of, in log order."""
        position = fresh.as_of
        async with query_for(runtime.pool, UsageView, principal.org) as connection:
            bill = await opened(connection, principal.org, period)
            events: list[bills.Evidence] = []
            if bill.has(meter):  # otherwise the query would look through every row of the period
                events = await bills.evidence(
                    connection, principal.org, period=bill.period, meter=meter, after=after, limit=limit + 1
                )
        page = events[:limit]
        following = page[-1].position if len(events) > limit else None
        return BillEventPage(events=page, next=following, as_of=position)

    @api.get("/tasks/{task}/bill", operation_id="get_task_bill", **reads)
    async def get_task_bill(task: str, principal: Caller) -> TaskBillAnswer:
        """A task's part of the bills of its periods, with the events behind it. Empty for one that never ran."""
        if not is_id("task", task):
            raise _task_not_found(task)
        if not await known(principal, task):
            # it may be newer than the view: read on to what this process has read of the log
            await fresh.reach(runtime.tail.position)
            if not await known(principal, task):
                raise _task_not_found(task)
        position = fresh.as_of
        async with query_for(runtime.pool, UsageView, principal.org) as connection:
            found = await bills.evidence(connection, principal.org, task=task, limit=TASK_EVENTS)
            whole = {period: await opened(connection, principal.org, period) for period in _periods(found)}
            lines = await _lines(connection, whole, found, task)
        return TaskBillAnswer(
            task=task,
            currency=_currency(whole),
            lines=lines,
            total_nano_usd=sum(line.amount_nano_usd for line in lines),
            events=found,
            as_of=position,
        )

    @api.get("/batches/{batch}/bill", operation_id="get_batch_bill", **reads)
    async def get_batch_bill(batch: str, principal: Caller) -> BatchBillAnswer:
        """What the tasks of a batch cost so far. Empty for one of which none has run."""
        if not is_id("batch", batch):
            raise Problem(404, "batch_not_found", f"There is no batch {batch[:64]!r}.")
        position, org = fresh.as_of, principal.org
        whole: dict[str, Bill] = {}
        costs = []
        async with query_for(runtime.pool, UsageView, org) as connection:
            for task in await bills.tasks_started_by(connection, principal, batch):
                found = await bills.evidence(connection, org, task=task, limit=TASK_EVENTS)
                for period in _periods(found) - whole.keys():
                    whole[period] = await opened(connection, org, period)
                lines = await _lines(connection, whole, found, task)
                costs.append(
                    BatchTaskCost(task=task, total_nano_usd=sum(line.amount_nano_usd for line in lines))
                )
        return BatchBillAnswer(
            batch=batch,
            currency=_currency(whole),
            tasks=costs,
            total_nano_usd=sum(cost.total_nano_usd for cost in costs),
            as_of=position,
        )


def _periods(found: Sequence[bills.Evidence]) -> set[str]:
    return {item.period for item in found}


def _currency(whole: Mapping[str, Bill]) -> str:
    return next((bill.currency for _, bill in sorted(whole.items(), reverse=True)), "usd")


async def _lines(
    connection: AsyncConnection[Any], whole: Mapping[str, Bill], found: Sequence[bills.Evidence], task: str
) -> list[TaskBillLine]:
    """A task's part of the bills of its periods."""
    lines = []
    for period in sorted(_periods(found)):
        lines += await _parts(connection, whole[period], [e for e in found if e.period == period], task)
    return lines


async def _parts(
    connection: AsyncConnection[Any], whole: Bill, found: list[bills.Evidence], task: str
) -> list[TaskBillLine]:
    """The task's part of every line that it has used something of."""
    parts = []
    for line in whole.lines:
        keys = whole.keys(line)
        mine = [e for e in found if e.segment == line.segment and Key(e.meter, e.model, e.token) in keys]
        quantity = sum(e.quantity for e in mine)
        if line.meter in NOT_SHARED or not quantity:
            continue
        amount = bills.simple_share(line, quantity)
        if amount is None:
            amount = await bills.task_share(connection, whole, line, keys, task)
        shown = BillLine.of(line, len(mine)).model_dump() | {
            "quantity": quantity,
            "included": _included(line, quantity),
            "amount_nano_usd": amount,
        }
        parts.append(TaskBillLine(**shown, period=whole.period))
    return parts


def _included(line: Line, quantity: int) -> int:
    """A task's part of what is included, rounded down: for show, the amounts are exact."""
    return line.included * quantity // line.quantity


def _task_not_found(task: str) -> Problem:
    return Problem(404, "task_not_found", f"There is no task {task[:64]!r}. `rclaude list` shows yours.")
