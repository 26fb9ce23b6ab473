"""The tables of the view `billing_usage`."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Index, Numeric
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel


class Tables(SQLModel, registry=registry()):
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

    `provider` is where its last attempt was assigned to.
    """

    __tablename__ = "task"

    org: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    person: str | None
    agent: str | None
    repository: str | None
    labels: dict[str, str] = Field(sa_type=JSONB)
    provider: str | None
    period: str | None
    admitted_at: str | None


class Execution(Tables, table=True):
    """A task that has started at least once, in the period that its admission named."""

    __table_args__ = (Index("execution_by_position", "org", "period", "position"),)

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

    `metered` and `written_off` are by key (a meter, or `model_tokens|model|token`); `cumulative` is the sample's own sum.
    """

    __table_args__ = (Index("usage_by_position", "org", "period", "position"),)

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
    event_id: str
    position: int = Field(sa_type=BigInteger)


class LostAttempt(Tables, table=True):
    """An attempt that was lost, or failed, by a fault of the product: its model use is charged, its compute is not."""

    __tablename__ = "lost_attempt"

    org: str = Field(primary_key=True)
    task: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)


class Total(Tables, table=True):
    """The sums of a period's rows, so that a bill reads a few rows however many tasks there were."""

    org: str = Field(primary_key=True)
    period: str = Field(primary_key=True)
    generation: int = Field(primary_key=True)
    segment: int = Field(primary_key=True)
    key: str = Field(primary_key=True)
    metered: Decimal = Field(sa_type=Numeric)
    written_off: Decimal = Field(sa_type=Numeric)
    events: int = Field(sa_type=BigInteger)
