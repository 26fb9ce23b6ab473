"""What billing answers: use, bill, and the events that a bill stands on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from psycopg import AsyncConnection

from remote_claude.billing.domain.periods import Period
from remote_claude.billing.domain.rating import Meter, rate, total
from remote_claude.billing.projections import bills
from remote_claude.billing.projections.usage import UsageView
from remote_claude.contracts.billing import PriceBook
from remote_claude.eventsourcing.schemas import asking
from remote_claude.runtime.identity import BillReader
from remote_claude.runtime.ids import is_id
from remote_claude.runtime.problems import Problem
from remote_claude.runtime.service import Runtime

CATCH_UP_S = 5.0

PeriodName = Annotated[
    str | None,
    Query(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$", description="`YYYY-MM`; the current one if left out"),
]
MinPosition = Annotated[
    int | None, Query(ge=0, description="Wait until the answer reflects this log position")
]


def router(runtime: Runtime) -> APIRouter:
    """The routes under `/v1/usage`, `/v1/bill` and `/v1/tasks/{task}/bill`."""
    api = APIRouter(prefix="/v1", tags=["billing"])

    async def as_of(min_position: int | None) -> int:
        projector = runtime.projectors[UsageView.name]
        if min_position is not None and not await projector.wait_for(min_position, CATCH_UP_S):
            raise Problem(
                503, "not_caught_up", f"Position {min_position} is not in this view yet: ask again."
            )
        return projector.position

    async def opened(connection: AsyncConnection[Any], org: str, name: str | None) -> bills.BillingPeriod:
        name = name or Period.containing(runtime.clock()).name
        period = await bills.period(connection, org, name)
        if period is None:
            raise Problem(
                404, "period_not_found", f"No billing period {name} has been opened for this organisation."
            )
        return period

    async def known(org: str, task: str) -> bool:
        async with asking(runtime.pool) as connection:
            return await bills.is_task(connection, org, task)

    @api.get("/usage")
    async def get_usage(
        principal: BillReader, period: PeriodName = None, min_position: MinPosition = None
    ) -> dict[str, Any]:
        """What the organisation has used in a period, against what its plan allows."""
        position = await as_of(min_position)
        async with asking(runtime.pool) as connection:
            current = await opened(connection, principal.org, period)
            found = await bills.evidence(connection, principal.org, period=current.period)
            tokens = await bills.model_tokens(connection, principal.org, current.period)
            plan, entitlements = await bills.plan(connection, principal.org) or (None, None)
        used = bills.quantities(found)
        return {
            "org": principal.org,
            "plan": plan,
            "period": current.period,
            "starts_at": current.starts_at,
            "ends_at": current.ends_at,
            "executions": {
                "used": used.get("executions", 0),
                "limit": entitlements.executions_per_month if entitlements else None,
            },
            **{meter: used.get(meter, 0) for meter in bills.MEASURED},
            "model_tokens": tokens,
            "as_of": position,
        }

    @api.get("/bill")
    async def get_bill(
        principal: BillReader, period: PeriodName = None, min_position: MinPosition = None
    ) -> dict[str, Any]:
        """The bill of a period as it stands: lines, and how many events each is the sum of."""
        position = await as_of(min_position)
        async with asking(runtime.pool) as connection:
            current = await opened(connection, principal.org, period)
            found = await bills.evidence(connection, principal.org, period=current.period)
            plan, _ = await bills.plan(connection, principal.org) or (None, None)
        return {
            "org": principal.org,
            "plan": plan,
            "period": current.period,
            "starts_at": current.starts_at,
            "ends_at": current.ends_at,
            **_bill(found, current.price_book),
            "as_of": position,
        }

    @api.get("/bill/events")
    async def get_bill_events(
        principal: BillReader,
        meter: Meter,
        period: PeriodName = None,
        after: Annotated[int, Query(ge=0, description="Events after this position")] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        min_position: MinPosition = None,
    ) -> dict[str, Any]:
        """The events that one line of a bill is the sum of, in log order."""
        position = await as_of(min_position)
        async with asking(runtime.pool) as connection:
            current = await opened(connection, principal.org, period)
            found = await bills.evidence(connection, principal.org, period=current.period)
        events = [item for item in found if item.meter == meter and item.position > after]
        page = events[:limit]
        return {
            "events": [asdict(item) for item in page],
            "next": page[-1].position if len(events) > limit else None,
            "as_of": position,
        }

    @api.get("/tasks/{task}/bill")
    async def get_task_bill(
        task: str, principal: BillReader, min_position: MinPosition = None
    ) -> dict[str, Any]:
        """What one task comes to at its own periods' prices, with the events that say so. Empty for one that never ran."""
        if not is_id("task", task):
            raise _task_not_found(task)
        position = await as_of(min_position)
        if not await known(principal.org, task):
            # it may be newer than the view: read on to what this process has heard of
            position = await as_of(runtime.tail.position)
            if not await known(principal.org, task):
                raise _task_not_found(task)
        async with asking(runtime.pool) as connection:
            found = await bills.evidence(connection, principal.org, task=task)
            bill: dict[str, Any] = {"currency": "usd", "lines": [], "total_nano_usd": 0}
            for name in sorted({item.period for item in found}):
                prices = (await opened(connection, principal.org, name)).price_book
                part = _bill(
                    [item for item in found if item.period == name],
                    prices.model_copy(update={"subscription": "0"}),
                )
                bill["lines"] += [
                    {**line, "period": name, "price_book": prices.version} for line in part["lines"]
                ]
                bill["total_nano_usd"] += part["total_nano_usd"]
        return {"task": task, **bill, "events": [asdict(item) for item in found], "as_of": position}

    return api


def _task_not_found(task: str) -> Problem:
    return Problem(404, "task_not_found", f"There is no task {task[:64]!r}. `GET /v1/tasks` lists yours.")


def _bill(found: list[bills.Evidence], prices: PriceBook) -> dict[str, Any]:
    lines = rate(bills.quantities(found), prices)
    counts: dict[str, int] = {}
    for item in found:
        counts[item.meter] = counts.get(item.meter, 0) + 1
    return {
        "currency": "usd",
        "price_book": prices.version,
        "lines": [{**asdict(line), "events": counts.get(line.meter, 0)} for line in lines],
        "total_nano_usd": total(lines),
    }
