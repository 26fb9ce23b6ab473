"""The tables of the view `billing_usage`."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Index, Numeric, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TEXT
from sqlalchemy.orm import registry
from sqlmodel import Field

from remote_claude.eventsourcing.postgres.tables import TableRow

RARE_METERS = ("egress_bytes", "storage_byte_days", "model_nano_usd", "model_tokens")
"""Meters that many attempts have nothing of: their rows have an index of their own."""


class Tables(TableRow, registry=registry()):
    """The tables of this view, apart from every other view's."""


class Account(Tables, table=True):
    """The plan that an organisation is on now. `opened_at` is when its first plan began."""

    org: str = Field(primary_key=True)
    plan: str
    plan_version: str
    anchor: str
    opened_at: str
    entitlements: dict[str, Any] = Field(sa_type=JSONB)


class BillingPeriod(Tables, table=True):
    """A period. `generation` is 1 once it is closed: what is metered in generation 0 is on its invoice, the rest is late."""

    __tablename__ = "period"

    org: str = Field(primary_key=True)
    period: str = Field(primary_key=True)
    starts_at: str
    ends_at: str
    currency: str
    generation: int


class PeriodSegment(Tables, table=True):
    """A part of a period, from `starts_at` to the next one, in which one price book holds."""

    __tablename__ = "segment"

    org: str = Field(primary_key=True)
    period: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    starts_at: str
    plan: str
    price_book: dict[str, Any] = Field(sa_type=JSONB)


class KnownTask(Tables, table=True):
    """A task, and what its cost can be allocated by. `period` and `admitted_at` are set by its admission.

    `provider` is where its last attempt was assigned to, `started_by` the schedule, trigger or batch that submitted it.
    """

    __tablename__ = "task"
    __table_args__ = (
        Index("task_by_starter", "org", "started_by", postgresql_where=text("started_by IS NOT NULL")),
    )

    org: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    person: str | None
    team: str | None
    agent: str | None
    repository: str | None
    labels: dict[str, str] = Field(sa_type=JSONB)
    provider: str | None
    started_by: str | None
    period: str | None
    admitted_at: str | None


class Execution(Tables, table=True):
    """A task that has started at least once, in the period that its admission named."""

    __table_args__ = (
        Index("execution_by_position", "org", "period", "position"),
        Index("execution_by_day", "org", "day"),
    )

    org: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    period: str
    segment: int
    generation: int
    day: str
    event_id: str
    position: int = Field(sa_type=BigInteger)


class Usage(Tables, table=True):
    """What one attempt has used on a day of a period, up to its last sample there.

    What the organisation stores on a day is a row without a task, of attempt 0.

    `metered` and `written_off` are by key (a meter, or `model_tokens|model|token`); `cumulative` is the sample's own sum.
    `meters` are those of which more was metered than written off.
    """

    __table_args__ = (
        Index("usage_by_position", "org", "period", "position"),
        Index("usage_by_day", "org", "day"),
        *(
            Index(
                f"usage_of_{meter}", "org", "period", "position",
                postgresql_where=text(f"'{meter}' = ANY (meters)"),
            )
            for meter in RARE_METERS
        ),
    )  # fmt: skip

    org: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    period: str = Field(primary_key=True)
    segment: int = Field(primary_key=True)
    generation: int = Field(primary_key=True)
    day: str = Field(primary_key=True)
    sequence: int
    cumulative: dict[str, Any] = Field(sa_type=JSONB)
    metered: dict[str, Any] = Field(sa_type=JSONB)
    written_off: dict[str, Any] = Field(sa_type=JSONB)
    meters: list[str] = Field(sa_type=ARRAY(TEXT))
    event_id: str
    position: int = Field(sa_type=BigInteger)


class LostAttempt(Tables, table=True):
    """An attempt that was lost by a fault of the product: its model use is charged, its compute is not."""

    __tablename__ = "lost_attempt"

    org: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)


class Total(Tables, table=True):
    """The sums of a period's rows by day, so that a bill reads a few rows however many tasks there were."""

    org: str = Field(primary_key=True)
    period: str = Field(primary_key=True)
    generation: int = Field(primary_key=True)
    segment: int = Field(primary_key=True)
    day: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    metered: Decimal = Field(sa_type=Numeric)
    written_off: Decimal = Field(sa_type=Numeric)
    events: int = Field(sa_type=BigInteger)


class Group(Tables, table=True):
    """What was used on a day by one group of a dimension: a person, a team, a repository, a label, an agent.

    One row has all meters, so that the groups of a month are summed over as few rows as there are groups and days. The group
    is empty where there is none. Tokens of all kinds count as one meter. What was written off is taken off.
    """

    __tablename__ = "group_day"

    org: str = Field(primary_key=True)
    dimension: str = Field(primary_key=True)
    day: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    period: str = Field(primary_key=True)
    executions: int = Field(sa_type=BigInteger)
    vcpu_ms: int = Field(sa_type=BigInteger)
    gib_ms: int = Field(sa_type=BigInteger)
    egress_bytes: int = Field(sa_type=BigInteger)
    storage_byte_days: int = Field(sa_type=BigInteger)
    model_nano_usd: int = Field(sa_type=BigInteger)
    model_tokens: int = Field(sa_type=BigInteger)
    customer_model_nano_usd: int = Field(sa_type=BigInteger)
    customer_model_tokens: int = Field(sa_type=BigInteger)


GROUP_KEY = ("org", "dimension", "day", "name", "period")
GROUP_METERS = tuple(name for name in Group.model_fields if name not in GROUP_KEY)
"""The meters that a group has a sum of."""


class ModelDay(Tables, table=True):
    """How many tokens of a kind, or uses of a server tool, a model has had on a day."""

    __tablename__ = "model_day"

    org: str = Field(primary_key=True)
    day: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    token: str = Field(primary_key=True)
    quantity: Decimal = Field(sa_type=Numeric)


class TaskUse(Tables, table=True):
    """Everything that a task has used, by meter, without what was written off. `day` is the last on which it used any."""

    __tablename__ = "task_use"
    __table_args__ = (Index("task_use_by_cost", "org", "day", "model_nano_usd", "task"),)

    org: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    day: str
    model_nano_usd: int = Field(sa_type=BigInteger)
    quantities: dict[str, Any] = Field(sa_type=JSONB)
