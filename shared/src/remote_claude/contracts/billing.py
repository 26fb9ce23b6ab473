"""Events of billing: plans, and the periods that usage is billed in."""

from typing import ClassVar

from remote_claude.contracts.base import Event, Value
from remote_claude.contracts.periods import CALENDAR, Anchor


class Entitlements(Value):
    """What a plan allows. None means unlimited.

    `vcpu_millis`, `memory_mib` and `duration_s` bound one attempt; `concurrency` the attempts at one time.
    """

    executions_per_month: int | None
    vcpu_millis: int
    memory_mib: int
    duration_s: int
    concurrency: int | None = None


class PriceBook(Value):
    """Prices in nano-dollars, as decimal strings: they are multiplied exactly and rounded once per line.

    `per_vcpu_ms`, `per_gib_ms`, `per_egress_byte` and `per_execution` are per unit of their meter beyond what is
    included; `model_factor` multiplies the model dollars measured at the proxy.
    """

    version: str
    subscription: str = "0"
    included_executions: int | None = None
    per_execution: str = "0"
    per_vcpu_ms: str = "0"
    per_gib_ms: str = "0"
    per_egress_byte: str = "0"
    model_factor: str = "1"


class BillingEvent(Event):
    producer: ClassVar[str] = "billing"
    aggregate: ClassVar[str] = "account"


class PlanChanged(BillingEvent):
    """The organisation is on `plan` from here on. What the plan allows travels with it.

    `plan_version` names the published version of the plan. `anchor` says which periods the account has.
    """

    type: ClassVar[str] = "PlanChanged"
    version: ClassVar[int] = 1

    org: str
    plan: str
    plan_version: str = "1"
    anchor: Anchor = CALENDAR
    entitlements: Entitlements


class PeriodOpened(BillingEvent):
    """Usage from `starts_at` up to, not including, `ends_at` is billed at the prices that stand here."""

    type: ClassVar[str] = "PeriodOpened"
    version: ClassVar[int] = 1

    org: str
    period: str
    starts_at: str
    ends_at: str
    price_book: PriceBook
