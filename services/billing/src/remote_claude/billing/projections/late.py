"""What was metered in a period after it was closed, out of the view `billing_usage`."""

from __future__ import annotations

from collections import Counter
from typing import Any

from psycopg import AsyncConnection

from remote_claude.billing.domain.account import Account
from remote_claude.billing.domain.invoicing import Late
from remote_claude.billing.domain.rating import Key
from remote_claude.billing.projections.bills import period_bill
from remote_claude.contracts.billing import MeteredQuantity


async def late_usage(
    connection: AsyncConnection[Any], state: Account, org: str, period: str, position: int
) -> Late | None:
    """What was metered in a closed period, and is neither on its invoice nor in an adjustment."""
    whole = await period_bill(connection, org, period)
    billed = await period_bill(connection, org, period, until=1)
    if whole is None or billed is None:
        return None
    posted = [a for a in state.posted if a.period == period]
    left: Counter[tuple[int, Key]] = Counter()
    for sums in whole.sums:
        if sums.generation:
            left[sums.segment, sums.key] += sums.metered - sums.written_off
    for adjustment in posted:
        for q in adjustment.quantities:
            left[q.segment, Key(q.meter, q.model, q.token)] -= q.quantity
    quantities = tuple(
        MeteredQuantity(meter=key.meter, model=key.model, token=key.token, segment=segment, quantity=n)
        for (segment, key), n in sorted(left.items(), key=lambda item: (item[0][0], str(item[0][1])))
        if n
    )
    if not quantities:
        return None
    amount = whole.total_nano - billed.total_nano - sum(adjustment.amount_nano for adjustment in posted)
    return Late(period=period, position=position, amount_nano=amount, quantities=quantities)
