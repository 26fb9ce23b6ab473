"""For the operator of the installation: what every organisation uses, prices tried on what was used, conservation."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from psycopg.rows import dict_row
from pydantic import BaseModel, ConfigDict, Field

from remote_claude.billing import simulation
from remote_claude.billing.domain.plans import Catalog, InvalidPlans, parse
from remote_claude.billing.handlers import Accounts
from remote_claude.billing.projections.conservation import conservation
from remote_claude.contracts.periods import CALENDAR, period_at
from remote_claude.edge.caller import Caller
from remote_claude.edge.freshness import Freshness
from remote_claude.edge.models import problems
from remote_claude.edge.paging import Limit
from remote_claude.edge.problems import Problem
from remote_claude.eventsourcing.postgres.schemas import borrow
from remote_claude.runtime.service import Runtime

LAST = """
SELECT DISTINCT ON (s.org) s.org, s.plan, s.period,
    (SELECT coalesce(sum(t.metered - t.written_off), 0) FROM billing_usage.total t
     WHERE t.org = s.org AND t.period = s.period AND t.key = 'executions') AS executions
FROM billing_usage.segment s WHERE s.org > %s ORDER BY s.org, s.starts_at DESC LIMIT %s
"""


class PriceFile(BaseModel):
    """`file` is TOML with catalog, seller and plans, as `rclaude-admin prices publish` takes it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    file: Annotated[str, Field(min_length=1, max_length=200_000)]


class SimulationRequest(PriceFile):
    """`last` counts the periods of each organisation."""

    last: Annotated[int, Field(ge=1, le=24)] = 3


class SimulatedPeriod(BaseModel):
    """A period of an organisation in nano-dollars: `before` at its own prices, `after` at those of the file."""

    org: str
    period: str
    plans: list[str]
    before: int
    after: int


class Simulation(BaseModel):
    catalog: str
    periods: list[SimulatedPeriod]


class PublishedPrices(BaseModel):
    """`position` is that of the event; the same prices again are not recorded again."""

    catalog: str
    plans: list[str]
    position: int


class AccountUse(BaseModel):
    """The plan of an organisation, and what it has executed in its latest period."""

    org: str
    plan: str
    period: str
    executions: int


class AccountPage(BaseModel):
    """In the order of the organisations' ids. `next` is what to send as `after` to go on, null at the end."""

    accounts: list[AccountUse]
    next: str | None
    as_of: int


class MeterSums(BaseModel):
    """`metered` = `charged` + `included` + `written_off`, in the meter's own unit; `unaccounted` is the rest."""

    meter: str
    metered: int
    charged: int
    included: int
    written_off: int
    unaccounted: int


class ConservationAnswer(BaseModel):
    """`breaches` says what does not add up, by name; empty while all does."""

    period: str
    meters: list[MeterSums]
    breaches: dict[str, int]


def add_routes(api: APIRouter, runtime: Runtime, fresh: Freshness, accounts: Accounts) -> None:
    """The routes `/v1/billing/accounts`, `simulation`, `prices` and `conservation`."""
    reads = [Depends(fresh)]

    @api.get(
        "/billing/accounts", operation_id="list_accounts", dependencies=reads, responses=problems(403, 503)
    )
    async def list_accounts(
        _: Caller,
        after: Annotated[
            str, Query(max_length=64, pattern="^[0-9A-Za-z_]*$", description="Organisations after this id")
        ] = "",
        limit: Limit = 200,
    ) -> AccountPage:
        """Plan and executions of every organisation, for the operator."""
        async with borrow(runtime.pool) as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(LAST, [after, limit + 1])
            rows = await cursor.fetchall()
        found = [AccountUse(**row | {"executions": int(row["executions"])}) for row in rows[:limit]]
        following = found[-1].org if len(rows) > limit else None
        return AccountPage(accounts=found, next=following, as_of=fresh.as_of)

    @api.post(
        "/billing/simulation", operation_id="simulate_prices", dependencies=reads,
        responses=problems(403, 422, 503),
    )  # fmt: skip
    async def simulate_prices(_: Caller, body: SimulationRequest) -> Simulation:
        """Rate the last periods of every organisation at the prices of a file. Nothing is published."""
        catalog = _catalog(body.file)
        found = await simulation.simulate(runtime.pool, catalog, body.last)
        periods = [
            SimulatedPeriod(org=s.org, period=s.period, plans=list(s.plans), before=s.before, after=s.after)
            for s in found
        ]
        return Simulation(catalog=catalog.version, periods=periods)

    @api.put("/billing/prices", operation_id="publish_prices", responses=problems(403, 422, 503))
    async def publish_prices(caller: Caller, body: PriceFile) -> PublishedPrices:
        """Offer the plans of a file from now on. Accounts keep what they have until their plan is changed."""
        catalog = _catalog(body.file)
        position = await accounts.publish(catalog, caller.user)
        return PublishedPrices(catalog=catalog.version, plans=list(catalog.plans), position=position)

    @api.get(
        "/billing/conservation", operation_id="get_conservation", dependencies=reads,
        responses=problems(403, 503),
    )  # fmt: skip
    async def get_conservation(_: Caller) -> ConservationAnswer:
        """Whether all that was metered this month is charged, included in a plan, or written off. It reads the whole month."""
        period = period_at(CALENDAR, runtime.clock()).id
        sums = await conservation(runtime.pool, period)
        open_ = sums.unaccounted
        meters = [
            MeterSums(
                meter=meter, metered=int(n), charged=int(sums.charged[meter]), included=int(sums.included[meter]),
                written_off=int(sums.written_off[meter]), unaccounted=int(open_.get(meter, 0)),
            )
            for meter, n in sorted(sums.metered.items())
        ]  # fmt: skip
        return ConservationAnswer(
            period=period, meters=meters, breaches={k: int(v) for k, v in sums.breaches.items()}
        )


def _catalog(text: str) -> Catalog:
    """Raises `Problem` with the place and the reason."""
    try:
        return parse(text)
    except InvalidPlans as error:
        raise Problem(422, InvalidPlans.code, f"The file was not taken: {error}.") from error
