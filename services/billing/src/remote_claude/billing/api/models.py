"""What billing's routes answer. Money is in nano-dollars; `as_of` is the log position that an answer reflects."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from remote_claude.billing.domain.rating import Line
from remote_claude.billing.projections.bills import Evidence


class BillLine(BaseModel):
    """`quantity` of a meter, of which `included` is free, at `unit_price`, null where tiers make it.

    `events` is how many it is the sum of. `segment` counts the parts of a period that have prices of their own.
    """

    meter: str
    unit: str
    quantity: int
    included: int
    unit_price: str | None
    amount_nano_usd: int
    events: int
    model: str | None = None
    token: str | None = None
    segment: int = 0
    price_book: str

    @classmethod
    def of(cls, line: Line, events: int) -> BillLine:
        """A line of a bill."""
        return cls(**_shown(line), amount_nano_usd=line.amount_nano, events=events)


def _shown(line: Line) -> dict[str, Any]:
    names = (
        "meter", "unit", "quantity", "included", "unit_price", "model", "token", "segment", "price_book",
    )  # fmt: skip
    return {name: getattr(line, name) for name in names}


class TaskBillLine(BillLine):
    """A task's part of a line of its period. The parts of all tasks sum to the line."""

    period: str


class Executions(BaseModel):
    """`limit` is null where the plan has none."""

    used: int
    limit: int | None


class UsageAnswer(BaseModel):
    """What an organisation has used in a period. `model_tokens`: model -> kind -> count.

    `customer_model_nano_usd` is what the organisation's own credential paid for, which is not charged.
    """

    org: str
    plan: str | None
    period: str
    starts_at: str
    ends_at: str
    executions: Executions
    vcpu_ms: int
    gib_ms: int
    egress_bytes: int
    storage_byte_days: int
    model_nano_usd: int
    customer_model_nano_usd: int
    model_tokens: dict[str, dict[str, int]]
    as_of: int


class BillAnswer(BaseModel):
    """The current bill of a period."""

    org: str
    plan: str | None
    period: str
    starts_at: str
    ends_at: str
    currency: str
    price_book: str
    lines: list[BillLine]
    total_nano_usd: int
    as_of: int


class BillEventPage(BaseModel):
    """In log order. `next` is the position to go on after, null when nothing follows by now."""

    events: list[Evidence]
    next: int | None
    as_of: int


class TaskBillAnswer(BaseModel):
    """The cost of one task; `events` are the first 1,000 behind its lines."""

    task: str
    currency: str
    lines: list[TaskBillLine]
    total_nano_usd: int
    events: list[Evidence]
    as_of: int


class BatchTaskCost(BaseModel):
    """What one task of a batch costs."""

    task: str
    total_nano_usd: int


class BatchBillAnswer(BaseModel):
    """The cost of a batch: the sum of the parts that its tasks have of the bills of their periods."""

    batch: str
    currency: str
    tasks: list[BatchTaskCost]
    total_nano_usd: int
    as_of: int
