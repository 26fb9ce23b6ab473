"""What billing answers: use, bill, and the events that a bill stands on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from psycopg import AsyncConnection

from remote_claude.billing.answers import (
    BillAnswer,
    BillEventPage,
    BillLine,
    Executions,
    TaskBillAnswer,
    TaskBillLine,
    UsageAnswer,
)
from remote_claude.billing.domain.rating import Key, Segment, rate
from remote_claude.billing.projections import bills
from remote_claude.billing.projections.usage import UsageView
from remote_claude.contracts.periods import CALENDAR, period_at
from remote_claude.contracts.prices import Flat, Meter, PriceBook
from remote_claude.edge.identity import Caller
from remote_claude.edge.problems import Problem
from remote_claude.eventsourcing.postgres.schemas import asking
from remote_claude.runtime.ids import is_id
from remote_claude.runtime.service import Runtime

CATCH_UP_S = 5.0
CURRENCY = "usd"

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
        name = name or period_at(CALENDAR, runtime.clock()).id
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
        principal: Caller, period: PeriodName = None, min_position: MinPosition = None
    ) -> UsageAnswer:
        """What the organisation has used in a period, against what its plan allows."""
        position = await as_of(min_position)
        async with asking(runtime.pool) as connection:
            current = await opened(connection, principal.org, period)
            found = await bills.evidence(connection, principal.org, period=current.period)
            tokens = await bills.model_tokens(connection, principal.org, current.period)
            plan, entitlements = await bills.plan(connection, principal.org) or (None, None)
        used = bills.quantities(found)
        return UsageAnswer(
            org=principal.org,
            plan=plan,
            period=current.period,
            starts_at=current.starts_at,
            ends_at=current.ends_at,
            executions=Executions(
                used=used.get("executions", 0),
                limit=entitlements.executions_per_month if entitlements else None,
            ),
            vcpu_ms=used.get("vcpu_ms", 0),
            gib_ms=used.get("gib_ms", 0),
            egress_bytes=used.get("egress_bytes", 0),
            model_nano_usd=used.get("model_nano_usd", 0),
            model_tokens=tokens,
            as_of=position,
        )

    @api.get("/bill")
    async def get_bill(
        principal: Caller, period: PeriodName = None, min_position: MinPosition = None
    ) -> BillAnswer:
        """The bill of a period as it stands: lines, and how many events each is the sum of."""
        position = await as_of(min_position)
        async with asking(runtime.pool) as connection:
            current = await opened(connection, principal.org, period)
            found = await bills.evidence(connection, principal.org, period=current.period)
            plan, _ = await bills.plan(connection, principal.org) or (None, None)
        lines = _lines(found, current.price_book)
        return BillAnswer(
            org=principal.org,
            plan=plan,
            period=current.period,
            starts_at=current.starts_at,
            ends_at=current.ends_at,
            currency=CURRENCY,
            price_book=current.price_book.version,
            lines=lines,
            total_nano_usd=_total(lines),
            as_of=position,
        )

    @api.get("/bill/events")
    async def get_bill_events(
        principal: Caller,
        meter: Meter,
        period: PeriodName = None,
        after: Annotated[int, Query(ge=0, description="Events after this position")] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        min_position: MinPosition = None,
    ) -> BillEventPage:
        """The events that one line of a bill is the sum of, in log order."""
        position = await as_of(min_position)
        async with asking(runtime.pool) as connection:
            current = await opened(connection, principal.org, period)
            found = await bills.evidence(connection, principal.org, period=current.period)
        events = [item for item in found if item.meter == meter and item.position > after]
        page = events[:limit]
        following = page[-1].position if len(events) > limit else None
        return BillEventPage(events=page, next=following, as_of=position)

    @api.get("/tasks/{task}/bill")
    async def get_task_bill(task: str, principal: Caller, min_position: MinPosition = None) -> TaskBillAnswer:
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
            lines: list[TaskBillLine] = []
            for name in sorted({item.period for item in found}):
                prices = (await opened(connection, principal.org, name)).price_book
                part = _lines(
                    [item for item in found if item.period == name],
                    _without_flat(prices),
                )
                lines += [TaskBillLine(**dict(line), period=name, price_book=prices.version) for line in part]
        return TaskBillAnswer(
            task=task,
            currency=CURRENCY,
            lines=lines,
            total_nano_usd=_total(lines),
            events=found,
            as_of=position,
        )

    return api


def _task_not_found(task: str) -> Problem:
    return Problem(404, "task_not_found", f"There is no task {task[:64]!r}. `GET /v1/tasks` lists yours.")


def _without_flat(prices: PriceBook) -> PriceBook:
    components = tuple(c for c in prices.components if not isinstance(c, Flat))
    return prices.model_copy(update={"components": components})


def _lines(found: list[bills.Evidence], prices: PriceBook) -> list[BillLine]:
    counts: Counter[str] = Counter(item.meter for item in found)
    quantities = {Key(meter): quantity for meter, quantity in bills.quantities(found).items()}
    segment = Segment(starts_at="", ends_at="", price_book=prices, quantities=quantities)
    return [BillLine.of(line, counts[line.key.meter]) for line in rate([segment])]


def _total(lines: Sequence[BillLine]) -> int:
    return sum(line.amount_nano_usd for line in lines)
