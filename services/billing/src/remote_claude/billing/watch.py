"""What billing watches in the background: quotas that run out, invoices that stay unpaid, and whether Stripe agrees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import structlog
from psycopg import AsyncConnection

from remote_claude.billing.domain.account import BILLING
from remote_claude.billing.domain.invoicing import ReachThreshold, RecordDrift
from remote_claude.billing.handlers import Accounts
from remote_claude.billing.invoices import Invoices
from remote_claude.billing.projections import bills
from remote_claude.billing.projections.issued import find_invoices
from remote_claude.billing.stripe_adapter import Stripe, StripeRefused, StripeUnavailable
from remote_claude.billing.stripe_worker import Payments
from remote_claude.contracts.billing import (
    Entitlements,
    QuotaThresholdReached,
)
from remote_claude.contracts.payments import (
    ReconciliationDrift,
)
from remote_claude.eventsourcing import Clock, timestamp
from remote_claude.eventsourcing.postgres.schemas import Pool, borrow

QUOTAS_EVERY_S, DUNNING_EVERY_S, RECONCILE_EVERY_S = 15.0, 60.0, 24 * 3600.0
RECONCILED = timedelta(days=92)
"""Invoices as old as this are compared with Stripe's."""
PERCENTS = (50, 80, 100)

RUNNING = """
SELECT account.org, period.period, account.entitlements, coalesce(jsonb_object_agg(used.key, used.quantity)
    FILTER (WHERE used.key IS NOT NULL), '{}'), coalesce(stored.size, 0)
FROM billing_usage.account JOIN billing_usage.period USING (org)
LEFT JOIN LATERAL (SELECT key, sum(metered) AS quantity FROM billing_usage.total t
    WHERE t.org = account.org AND t.period = period.period AND key IN ('executions', 'model_nano_usd')
    GROUP BY key) used ON true
LEFT JOIN LATERAL (SELECT metered AS size FROM billing_usage.total t
    WHERE t.org = account.org AND t.period = period.period AND key = 'storage_byte_days'
    ORDER BY day DESC LIMIT 1) stored ON true
WHERE period.starts_at <= %(now)s AND period.ends_at > %(now)s
GROUP BY account.org, period.period, account.entitlements, stored.size
"""

log = structlog.get_logger(__name__)


class BillingWatch:
    """Each look is safe to repeat: the deciders record a thing once. `drifting` is how many invoices differed last."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        accounts: Accounts,
        invoices: Invoices,
        default_plan: str,
        grace: timedelta,
    ) -> None:
        self._pool, self._clock, self._default_plan, self._grace = pool, clock, default_plan, grace
        self._accounts, self._invoices = accounts, invoices
        self._known: set[tuple[str, str, str, int]] = set()
        self.drifting = 0

    async def quotas(self) -> None:
        """Record each threshold that the use of a running period has reached."""
        async with borrow(self._pool) as connection:
            found = await (await connection.execute(RUNNING, {"now": timestamp(self._clock())})).fetchall()
            quotas = [
                (org, period, *quota)
                for org, period, *more in found
                async for quota in _quotas(connection, org, period, *more)
            ]
        for org, period, meter, used, limit in quotas:
            for percent in PERCENTS if limit else ():
                key = (org, period, meter, percent)
                if used * 100 < limit * percent or key in self._known:
                    continue
                reached = QuotaThresholdReached(
                    org=org, period=period, meter=meter, percent=percent, used=int(used), limit=limit
                )
                await self._invoices.handle(org, ReachThreshold(reached=reached))
                self._known.add(key)

    async def unpaid(self) -> None:
        """Put an organisation whose invoice could not be collected for the whole grace on the default plan."""
        for row in await find_invoices(self._pool, unpaid=True):
            failed_at = row["failed_at"]
            if failed_at is None or datetime.fromisoformat(failed_at) + self._grace > self._clock():
                continue
            account = await self._invoices.account(row["org"])
            if account.plan != self._default_plan:
                await self._accounts.set_plan(row["org"], self._default_plan, actor=BILLING, reason="unpaid")
                log.warning("an unpaid invoice ended a plan", org=row["org"], invoice=row["number"])

    async def reconcile(self, stripe: Stripe, payments: Payments) -> int:
        """Compare our invoices with Stripe's, record each difference once, and follow a payment that was missed.

        Returns how many differ.
        """
        since = timestamp(self._clock() - RECONCILED)
        differing = 0
        for row in await find_invoices(self._pool):
            if row["stripe"] is None or row["issued_at"] < since:
                continue
            try:
                found = await stripe.fetch(row["stripe"])
            except StripeUnavailable:
                continue  # the next look
            except StripeRefused:
                found = None
            drifts = list(_differences(row, found))
            differing += bool(drifts)
            for field, ours, theirs in drifts:
                drift = ReconciliationDrift(
                    org=row["org"],
                    invoice=row["invoice"],
                    object=row["stripe"],
                    field=field,
                    ours=ours,
                    theirs=theirs,
                )
                await self._invoices.handle(row["org"], RecordDrift(drift=drift))
                log.warning("Stripe differs", invoice=row["number"], field=field, ours=ours, theirs=theirs)
            if found is not None and found.org is not None and drifts:
                await payments.follow(found)
        self.drifting = differing
        return differing


async def _quotas(
    connection: AsyncConnection[Any],
    org: str,
    period: str,
    entitlements: dict[str, Any],
    used: dict[str, int],
    stored: int,
) -> AsyncIterator[tuple[str, int, int]]:
    """(meter, used, limit) of each quota that the plan bounds."""
    plan = Entitlements(**entitlements)
    for meter, limit in (
        ("executions", plan.executions_per_month),
        ("model_nano_usd", plan.model_nano_usd),
    ):
        if limit is not None:
            yield meter, int(used.get(meter, 0)), limit
    if plan.storage_bytes is not None:
        yield "storage_bytes", int(stored), plan.storage_bytes
    if plan.total_nano_usd is not None:
        bill = await bills.period_bill(connection, org, period)
        lines = bill.lines if bill is not None else ()
        yield (
            "total_nano_usd",
            sum(line.amount_nano for line in lines if line.meter != "subscription"),
            plan.total_nano_usd,
        )


def _differences(row: dict[str, Any], found: Any) -> list[tuple[str, str, str]]:
    """(field, ours, theirs) of what differs."""
    if found is None:
        return [("existence", "mirrored", "missing")]
    differences = []
    if found.amount != row["total"]:
        differences.append(("total", str(row["total"]), str(found.amount)))
    ours = "paid" if row["paid_at"] is not None else "open"
    theirs = "paid" if found.status == "paid" else "open"
    if ours != theirs:
        differences.append(("status", ours, found.status))
    return differences


async def every(seconds: float, look: Callable[[], Awaitable[Any]], may: Callable[[], bool]) -> None:
    """Look periodically, while `may` is true for this process; never ends by itself."""
    while True:
        if may():
            await look()
        await asyncio.sleep(seconds)
