"""Nothing metered is lost, and nothing charged was not metered: sums over all organisations, found in two ways."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from psycopg import IsolationLevel
from psycopg.rows import dict_row

from remote_claude.billing.domain.rating import DETAILS
from remote_claude.billing.projections import bills
from remote_claude.billing.projections.tables import GROUP_KEY
from remote_claude.eventsourcing.postgres.schemas import Pool, connect

# From the rows of attempts and tasks, without the sums and the code that make bills.
METERED = """
    SELECT split_part(k.key, '|', 1) AS meter, sum((k.value #>> '{}')::numeric) AS metered, 0::numeric AS written_off
    FROM billing_usage.usage u, jsonb_each(u.metered) k WHERE u.period = %(period)s GROUP BY 1
    UNION ALL
    SELECT split_part(k.key, '|', 1), 0, sum((k.value #>> '{}')::numeric)
    FROM billing_usage.usage u, jsonb_each(u.written_off) k WHERE u.period = %(period)s GROUP BY 1
    UNION ALL SELECT 'executions', count(*), 0 FROM billing_usage.execution WHERE period = %(period)s
"""
PEOPLE = """
    SELECT q.key AS meter, sum(q.value::numeric)
    FROM billing_usage.group_day g, LATERAL jsonb_each_text(to_jsonb(g) - %(others)s::text[]) q
    WHERE dimension = 'person' AND period = %(period)s {only} GROUP BY 1
"""
# Of all periods: a task has one sum.
TASKS = """
    SELECT meter, sum(quantity) FROM (
        SELECT q.key AS meter, q.value::numeric AS quantity
        FROM billing_usage.task_use, LATERAL jsonb_each_text(quantities) q WHERE true {only}
        UNION ALL
        SELECT split_part(key, '|', 1), written_off - metered FROM billing_usage.total WHERE true {only}
    ) both_sums GROUP BY meter HAVING sum(quantity) <> 0
"""
ORGANISATIONS = "SELECT DISTINCT org FROM billing_usage.total WHERE period = %(period)s ORDER BY org"
NOT_METERED = ("subscription", "minimum")


@dataclass(slots=True)
class Conservation:
    """By meter, in its own unit: `metered` = `charged` + `included` in plans + `written_off` (compute of lost attempts).

    `people` is the sum over the organisation's people: as much as was metered and not written off. `tasks` is by how much the
    sum over its tasks differs from its own.
    """

    metered: Counter[str] = field(default_factory=Counter)
    charged: Counter[str] = field(default_factory=Counter)
    included: Counter[str] = field(default_factory=Counter)
    written_off: Counter[str] = field(default_factory=Counter)
    people: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)

    @property
    def unaccounted(self) -> dict[str, int]:
        """What is metered and nowhere else: 0, but for organisations whose period is not open yet."""
        return {
            meter: n - self.charged[meter] - self.included[meter] - self.written_off[meter]
            for meter, n in self.metered.items()
            if meter not in DETAILS or self.charged[meter]
        }

    @property
    def breaches(self) -> dict[str, int]:
        """What does not add up: meters that are not accounted for, or whose people or tasks sum to anything but it."""
        people = {
            f"{meter} of people": self.people[meter] - n + self.written_off[meter]
            for meter, n in self.metered.items()
        }
        tasks = {f"{meter} of tasks": n for meter, n in self.tasks.items()}
        return {name: n for name, n in (self.unaccounted | people | tasks).items() if n}


async def conservation(pool: Pool, period: str, org: str | None = None) -> Conservation:
    """The sums of a period, at one moment of the view. It reads all of the period: for once in a while."""
    sums = Conservation()
    metered = METERED if org is None else METERED.replace("= %(period)s", "= %(period)s AND org = %(org)s")
    only = "" if org is None else "AND org = %(org)s"
    parameters = {"period": period, "org": org, "others": list(GROUP_KEY)}
    async with connect(pool, "billing_usage") as connection:
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        async with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
            for row in await (await cursor.execute(metered.encode(), parameters)).fetchall():
                sums.metered[row["meter"]] += int(row["metered"])
                sums.written_off[row["meter"]] += int(row["written_off"])
            for query, counted in ((PEOPLE, sums.people), (TASKS, sums.tasks)):
                for row in await (
                    await cursor.execute(query.format(only=only).encode(), parameters)
                ).fetchall():
                    counted[row["meter"]] += int(row["sum"])
            orgs = [org] if org is not None else None
            if orgs is None:
                found = await cursor.execute(ORGANISATIONS, parameters)
                orgs = [row["org"] for row in await found.fetchall()]
            for one in orgs:
                bill = await bills.period_bill(connection, one, period)
                for line in bill.lines if bill is not None else ():
                    if line.meter not in NOT_METERED:
                        sums.charged[line.meter] += line.quantity - line.included
                        sums.included[line.meter] += line.included
    return sums
