"""Nothing metered is lost, and nothing charged was not metered: sums over all organisations, found in two ways."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from psycopg import IsolationLevel
from psycopg.rows import dict_row

from remote_claude.billing.domain.rating import Key, Segment, rate
from remote_claude.billing.projections import bills
from remote_claude.eventsourcing.postgres.schemas import Pool, connect

# By plain sums over the rows, without the code that makes bills.
METERED = """
    SELECT m.meter, sum((u.cumulative ->> m.meter)::numeric - (u.before ->> m.meter)::numeric) AS metered,
           coalesce(sum((u.cumulative ->> m.meter)::numeric - (u.before ->> m.meter)::numeric)
                    FILTER (WHERE l.org IS NOT NULL AND m.meter = ANY (%(compute)s)), 0) AS written_off
    FROM billing_usage.usage u LEFT JOIN billing_usage.lost_attempt l USING (org, task, attempt),
         unnest(%(meters)s::text[]) AS m (meter)
    WHERE u.period = %(period)s GROUP BY m.meter
    UNION ALL SELECT 'executions', count(*), 0 FROM billing_usage.execution WHERE period = %(period)s
"""
ORGANISATIONS = """
    SELECT org FROM billing_usage.usage WHERE period = %(period)s
    UNION SELECT org FROM billing_usage.execution WHERE period = %(period)s ORDER BY org
"""


@dataclass(slots=True)
class Conservation:
    """By meter, in its own unit: `metered` = `charged` + `included` in plans + `written_off` (compute of lost attempts)."""

    metered: Counter[str] = field(default_factory=Counter)
    charged: Counter[str] = field(default_factory=Counter)
    included: Counter[str] = field(default_factory=Counter)
    written_off: Counter[str] = field(default_factory=Counter)

    @property
    def unaccounted(self) -> dict[str, int]:
        """What is metered and nowhere else: 0, but for organisations whose period is not open yet."""
        return {
            meter: n - self.charged[meter] - self.included[meter] - self.written_off[meter]
            for meter, n in self.metered.items()
        }


async def conservation(pool: Pool, period: str) -> Conservation:
    """The sums of a period, at one moment of the view. It reads all of the period: for once in a while."""
    sums = Conservation()
    asked = {"period": period, "meters": list(bills.MEASURED), "compute": list(bills.COMPUTE)}
    async with connect(pool, "billing_usage") as connection:
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        async with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
            for row in await (await cursor.execute(METERED, asked)).fetchall():
                sums.metered[row["meter"]] = int(row["metered"])
                sums.written_off[row["meter"]] = int(row["written_off"])
            for row in await (await cursor.execute(ORGANISATIONS, asked)).fetchall():
                opened = await bills.period(connection, row["org"], period)
                if opened is None:
                    continue
                found = await bills.evidence(connection, row["org"], period=period)
                quantities = {Key(meter): quantity for meter, quantity in bills.quantities(found).items()}
                segment = Segment(
                    starts_at=opened.starts_at,
                    ends_at=opened.ends_at,
                    price_book=opened.price_book,
                    quantities=quantities,
                )
                for line in rate([segment]):
                    if line.meter not in ("subscription", "minimum"):
                        sums.charged[line.meter] += line.quantity - line.included
                        sums.included[line.meter] += line.included
    return sums
