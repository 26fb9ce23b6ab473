"""Service levels: what an organisation's month was like by the log and at the edge, and the credit that the terms give for it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Annotated

import httpx2
from psycopg.rows import scalar_row
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from remote_claude.billing.projections import bills
from remote_claude.contracts.base import Event
from remote_claude.contracts.billing import CreditGranted
from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.contracts.runner import TaskStarted
from remote_claude.contracts.scheduler import RunnerLost, TaskFailed, TaskSucceeded, TaskTimedOut
from remote_claude.eventsourcing.postgres.schemas import Pool, borrow

MONTH = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")
EXHAUSTED = "attempts_exhausted"
PERIODS = """
SELECT period FROM billing_usage.period p WHERE org = %(org)s AND starts_at >= %(starts_at)s AND starts_at < %(ends_at)s
  AND EXISTS (SELECT FROM billing_usage.segment s WHERE s.org = p.org AND s.period = p.period AND s.plan = ANY (%(plans)s))
"""


class InvalidTerms(Exception):
    """The file is no table of terms, or the month is none."""

    code = "invalid_terms"


class EdgeUnknown(Exception):
    """Prometheus gave no figure for the month."""

    code = "edge_unknown"


def _percent(text: str) -> str:
    if not 0 <= Fraction(text) <= 100:
        raise ValueError(f"{text!r} is no percentage")
    return text


Percent = Annotated[str, AfterValidator(_percent)]


class CreditTier(BaseModel):
    """Below this availability, so many percent of what the month was charged are given back."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    below: Percent
    credit: Percent


class CreditTerms(BaseModel):
    """What a contract promises. The lowest tier that fits decides; `plans` are those that have the promise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    plans: tuple[str, ...] = ("enterprise",)
    start_seconds: float = 60
    """A task starts within this time of its submission."""
    tiers: tuple[CreditTier, ...] = (
        CreditTier(below="99.9", credit="10"),
        CreditTier(below="99", credit="25"),
        CreditTier(below="95", credit="50"),
    )

    def credit_percent(self, availability: Fraction) -> Fraction:
        """Of the month's charges. `availability` is between 0 and 1."""
        fitting = [Fraction(t.credit) for t in self.tiers if availability * 100 < Fraction(t.below)]
        return max(fitting, default=Fraction(0))


def parse(text: str) -> CreditTerms:
    """The terms of a TOML file. Raises `InvalidTerms`."""
    try:
        return CreditTerms.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise InvalidTerms(f"no table of terms: {str(error).splitlines()[0]}") from error


@dataclass(frozen=True, slots=True)
class ServiceMonth:
    """A calendar month in UTC; `ends_at` is the first instant after it."""

    name: str
    starts_at: datetime
    ends_at: datetime

    @classmethod
    def of(cls, name: str) -> ServiceMonth:
        """Raises `InvalidTerms` unless `name` is one such as 2026-11."""
        if (found := MONTH.fullmatch(name)) is None:
            raise InvalidTerms(f"{name!r} is no month; write it as 2026-11")
        year, number = int(found[1]), int(found[2])
        following = (year + 1, 1) if number == 12 else (year, number + 1)
        return cls(name, datetime(year, number, 1, tzinfo=UTC), datetime(*following, 1, tzinfo=UTC))

    def __contains__(self, instant: datetime) -> bool:
        return self.starts_at <= instant < self.ends_at


@dataclass(slots=True)
class TasksServed:
    """An organisation's tasks of a month: `ended` is without those that were rejected or cancelled."""

    ended: int = 0
    failed_by_service: int = 0
    waits: list[float] = field(default_factory=list)
    """Seconds from submission to start, of tasks that started in the month."""

    @property
    def availability(self) -> Fraction:
        """The share that the service did not fail; 1 for a month without tasks."""
        return 1 - Fraction(self.failed_by_service, self.ended) if self.ended else Fraction(1)

    def percentile(self, share: float) -> float | None:
        """Seconds that so many of the tasks waited at the most; None where none started."""
        waits = sorted(self.waits)
        return waits[min(len(waits) - 1, int(share * len(waits)))] if waits else None

    def within(self, seconds: float) -> float | None:
        """The share of starts within so many seconds."""
        return sum(w <= seconds for w in self.waits) / len(self.waits) if self.waits else None


class MonthFold:
    """The log of a month, folded by organisation. Tasks of the month before may start and end in it."""

    def __init__(self, month: ServiceMonth) -> None:
        self.month = month
        self.found: dict[str, TasksServed] = {}
        self._submitted: dict[str, datetime] = {}
        self._charged: dict[str, bool] = {}

    def apply(self, event: Event, at: datetime) -> None:
        """Take one event into account, in the order of the log."""
        match event:
            case TaskSubmitted():
                self._submitted[event.task] = at
            case TaskStarted() if (submitted := self._submitted.pop(event.task, None)) is not None:
                if at in self.month:
                    self._of(event.org).waits.append((at - submitted).total_seconds())
            case RunnerLost():
                self._charged[event.task] = event.charge
            case TaskSucceeded() | TaskFailed() | TaskTimedOut():
                self._submitted.pop(event.task, None)
                charged = self._charged.pop(event.task, False)
                if at in self.month:
                    served = self._of(event.org)
                    served.ended += 1
                    # A loss that is charged may be the doing of the task itself.
                    if isinstance(event, TaskFailed) and event.reason == EXHAUSTED and not charged:
                        served.failed_by_service += 1
            case _:
                pass

    def _of(self, org: str) -> TasksServed:
        return self.found.setdefault(org, TasksServed())


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeMeasured:
    """All requests of the API in a month, of all organisations."""

    availability: Fraction
    p99_seconds: float | None


async def edge(prometheus: str, month: ServiceMonth, now: datetime) -> EdgeMeasured:
    """What the gateways counted, out of Prometheus. Raises `EdgeUnknown`."""
    end = min(month.ends_at, now)
    span = f"[{int((end - month.starts_at).total_seconds())}s]"
    routes = 'http_route=~"/v1/.+"'
    failed = f'{routes}, http_response_status_code=~"5.."'
    count, bucket = (
        "http_server_request_duration_seconds_count",
        "http_server_request_duration_seconds_bucket",
    )
    queries = (
        f"sum(increase({count}{{{routes}}}{span}))",
        f"sum(increase({count}{{{failed}}}{span}))",
        f"histogram_quantile(0.99, sum by (le) (increase({bucket}{{{routes}}}{span})))",
    )
    async with httpx2.AsyncClient(base_url=prometheus, timeout=60) as client:
        try:
            answers = [await _value(client, query, end) for query in queries]
        except (httpx2.HTTPError, ValueError, KeyError) as error:
            raise EdgeUnknown(f"{prometheus} gives no answer: {error!r}") from error
    requests, failures, p99 = answers
    if not requests:
        raise EdgeUnknown(f"{prometheus} has no requests of {month.name}: its retention may be shorter")
    bad = Fraction(failures or 0) / Fraction(requests)
    return EdgeMeasured(availability=1 - bad, p99_seconds=p99)


async def _value(client: httpx2.AsyncClient, query: str, at: datetime) -> float | None:
    answer = await client.get("/api/v1/query", params={"query": query, "time": at.timestamp()})
    found = answer.raise_for_status().json()["data"]["result"]
    value = float(found[0]["value"][1]) if found else None
    return value if value is not None and value == value else None  # NaN is no value


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReport:
    """An organisation's month. Amounts in billionths of the currency's unit; the credit is none outside of `CreditTerms.plans`."""

    org: str
    month: str
    tasks: int
    failed_by_service: int
    availability: Fraction
    """The lower one of tasks and edge."""
    started_within: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    p99_seconds: float | None
    edge_availability: Fraction | None
    edge_p99_seconds: float | None
    charged_nano: int
    currency: str
    credit_nano: int

    def credit(self, actor: str) -> CreditGranted | None:
        """The credit as an event; its id is that of the month, so that it is granted once."""
        if not self.credit_nano:
            return None
        return CreditGranted(
            org=self.org,
            credit=f"credit_sla_{self.org}_{self.month}",
            amount_nano=self.credit_nano,
            currency=self.currency,
            reason=f"availability of {percent(self.availability)} in {self.month}",
            actor=actor,
        )


def percent(share: Fraction) -> str:
    """Rounded down: 99.9 % is not shown where it was missed."""
    return f"{int(share * 100_000) / 1000:.3f} %"


async def reports(
    pool: Pool,
    month: ServiceMonth,
    terms: CreditTerms,
    found: dict[str, TasksServed],
    at_edge: EdgeMeasured | None,
    orgs: Iterable[str],
) -> list[ServiceReport]:
    """A report for each of the organisations."""
    return [await _report(pool, month, terms, org, found.get(org, TasksServed()), at_edge) for org in orgs]


async def _report(
    pool: Pool,
    month: ServiceMonth,
    terms: CreditTerms,
    org: str,
    served: TasksServed,
    at_edge: EdgeMeasured | None,
) -> ServiceReport:
    charged, currency = await _charged(pool, org, month, terms.plans)
    availability = min([served.availability, *([at_edge.availability] if at_edge else [])])
    return ServiceReport(
        org=org,
        month=month.name,
        tasks=served.ended,
        failed_by_service=served.failed_by_service,
        availability=availability,
        started_within=served.within(terms.start_seconds),
        p50_seconds=served.percentile(0.5),
        p95_seconds=served.percentile(0.95),
        p99_seconds=served.percentile(0.99),
        edge_availability=at_edge.availability if at_edge else None,
        edge_p99_seconds=at_edge.p99_seconds if at_edge else None,
        charged_nano=charged,
        currency=currency,
        credit_nano=int(charged * terms.credit_percent(availability) / 100),
    )


async def _charged(pool: Pool, org: str, month: ServiceMonth, plans: Sequence[str]) -> tuple[int, str]:
    """What the periods that began in the month come to, on plans with the promise; and the currency."""
    asked = {"org": org, "plans": list(plans)}
    asked |= {
        name: at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        for name, at in (("starts_at", month.starts_at), ("ends_at", month.ends_at))
    }
    async with borrow(pool) as connection:
        async with connection.cursor(row_factory=scalar_row) as cursor:
            periods = await (await cursor.execute(PERIODS.encode(), asked)).fetchall()
        found = [await bills.period_bill(connection, org, period) for period in periods]
    made = [bill for bill in found if bill is not None]
    return sum(bill.total_nano for bill in made), made[0].currency if made else "usd"
