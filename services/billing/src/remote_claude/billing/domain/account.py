"""The account of an organisation: its plan, its periods, and what was invoiced. The decider of plans and periods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar, Literal, assert_never

from remote_claude.billing.domain.plans import Catalog
from remote_claude.contracts.billing import (
    AdjustmentPosted,
    BillingEvent,
    CouponRedeemed,
    CouponTerms,
    CreditGranted,
    CreditNoteIssued,
    CustomerDetailsChanged,
    Entitlements,
    InvoiceIssued,
    InvoicePaid,
    PaymentFailed,
    PeriodClosed,
    PeriodOpened,
    Plan,
    PlanChanged,
    PlanChangeScheduled,
    Proration,
    QuotaThresholdReached,
    StorageMeasured,
)
from remote_claude.contracts.payments import (
    InvoiceMirrored,
    ReconciliationDrift,
    StripeObjectObserved,
)
from remote_claude.contracts.periods import CALENDAR, period_after, period_at
from remote_claude.contracts.prices import PriceBook
from remote_claude.contracts.refusals import Refusal
from remote_claude.eventsourcing.events import timestamp

BILLING = "billing"
"""The actor of what billing decides by itself."""


class UnknownPlan(Refusal):
    """There is no plan of this name."""

    code: ClassVar[str] = "unknown_plan"
    status: ClassVar[int] = 404

    def __init__(self, plan: str, offered: Sequence[str]) -> None:
        super().__init__(f"there is no plan {plan!r}; choose one of: {', '.join(offered)}")


class UnknownOrganisation(Refusal):
    """There is no organisation of this id."""

    code: ClassVar[str] = "org_not_found"
    status: ClassVar[int] = 404

    def __init__(self, org: str) -> None:
        super().__init__(f"There is no organisation {org[:64]!r}. Name it by its id, org_...")


class NoAccount(Exception):
    """The organisation has no plan yet."""

    code = "no_account"

    def __init__(self, org: str) -> None:
        super().__init__(f"{org} has no plan yet; set one: rclaude-admin plan set {org} PLAN")


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPlan:
    """Put the organisation on a plan, now or when its period ends.

    `entitlements` replaces what the plan allows, for a contract or one's own machine. `upgrade` is the text for those
    who reach a limit.
    """

    org: str
    plan: str
    now: datetime
    catalog: Catalog
    entitlements: Entitlements | None = None
    when: Literal["now", "period_end"] = "now"
    proration: Proration = "seconds"
    actor: str | None = None
    reason: str | None = None
    contract: str | None = None
    upgrade: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAccount:
    """Put an organisation without a plan on its first one, and open every period up to the one that `now` is in."""

    org: str
    plan: str
    now: datetime
    catalog: Catalog
    entitlements: Entitlements | None = None
    anchor: str = CALENDAR
    upgrade: str | None = None


Command = SetPlan | OpenAccount


@dataclass(frozen=True, slots=True)
class Credit:
    """`left` billionths of the currency's unit, until `expires_at`."""

    left: int
    currency: str
    expires_at: str | None


@dataclass(frozen=True, slots=True)
class Coupon:
    """A coupon that was redeemed. It takes from so many more invoices."""

    terms: CouponTerms
    left: int


@dataclass(frozen=True, slots=True)
class Invoiced:
    """An invoice and its payments."""

    issued: InvoiceIssued
    paid: InvoicePaid | None = None
    failures: int = 0
    stripe: str | None = None
    corrected: int = 0

    @property
    def due(self) -> int:
        """What is still to be paid, in the currency's smallest unit."""
        return 0 if self.paid is not None else self.issued.total - self.corrected

    @property
    def state(self) -> Literal["open", "paid", "past_due", "corrected"]:
        if self.paid is not None:
            return "paid"
        if self.corrected >= self.issued.total > 0:
            return "corrected"
        return "past_due" if self.failures else "open"


@dataclass(frozen=True, slots=True)
class Account:
    """The state of an account, folded from its events. `opened_at` is when its first plan began."""

    plan: str | None = None
    plan_version: str | None = None
    entitlements: Entitlements | None = None
    price_book: PriceBook | None = None
    anchor: str = CALENDAR
    opened_at: str | None = None
    scheduled: PlanChangeScheduled | None = None
    periods: Mapping[str, PeriodOpened] = field(default_factory=dict)
    closed: Mapping[str, PeriodClosed] = field(default_factory=dict)
    adjustments: Mapping[str, AdjustmentPosted] = field(default_factory=dict)
    """Those that are on no invoice yet."""
    credits: Mapping[str, Credit] = field(default_factory=dict)
    coupons: Mapping[str, Coupon] = field(default_factory=dict)
    """Those that were redeemed, by code, in this order."""
    invoices: Mapping[str, Invoiced] = field(default_factory=dict)
    customer: CustomerDetailsChanged | None = None
    stripe_customer: str | None = None
    observed: Mapping[str, str] = field(default_factory=dict)
    """The last state that the payment provider reported, by object."""
    posted: tuple[AdjustmentPosted, ...] = ()
    """Every adjustment, whether it is on an invoice or not."""
    credit_notes: Mapping[str, CreditNoteIssued] = field(default_factory=dict)
    alerted: frozenset[tuple[str, str, int]] = frozenset()
    """(period, meter, percent) of the thresholds that were reached."""
    drifts: frozenset[tuple[str, str, str]] = frozenset()
    """(object, field, value at Stripe) of the differences that were found."""

    storage_day: str = ""
    """The last day whose storage was measured."""

    @property
    def last_period(self) -> PeriodOpened | None:
        return max(self.periods.values(), key=lambda period: period.starts_at, default=None)

    def storage_is_due(self, day: str) -> bool:
        """Whether a UTC day (`2026-11-30`) is still to be measured: not the day of the opening, and none twice."""
        return self.opened_at is not None and day > max(self.storage_day, self.opened_at[:10])


initial_state = Account()


def decide(command: Command, state: Account) -> list[BillingEvent]:
    """What follows from a command. Raises `UnknownPlan`, `NoAccount`."""
    if command.plan not in command.catalog.plans:
        raise UnknownPlan(command.plan, list(command.catalog.plans))
    plan = command.catalog.plans[command.plan]
    match command:
        case OpenAccount() if state.plan is not None:
            return open_periods(command.org, state, command.now, command.catalog)
        case SetPlan(when="period_end"):
            return _schedule(command, state)
        case SetPlan() | OpenAccount():
            changed = _changed(command, state, plan)
            if changed is None:
                return []
            after = evolve(state, changed)
            return [changed, *open_periods(command.org, after, command.now, command.catalog)]
        case _:
            assert_never(command)


def _changed(command: Command, state: Account, plan: Plan) -> PlanChanged | None:
    allowed = command.entitlements or plan.entitlements
    same = (plan.plan, plan.version, allowed) == (state.plan, state.plan_version, state.entitlements)
    if same and state.scheduled is None:
        return None
    more: dict[str, Any] = {"anchor": state.anchor}
    match command:
        case OpenAccount():
            more = {"anchor": command.anchor, "actor": BILLING, "reason": "account_opened"}
        case SetPlan():
            more |= {name: getattr(command, name) for name in ("proration", "actor", "reason", "contract")}
    return PlanChanged(
        org=command.org,
        plan=plan.plan,
        plan_version=plan.version,
        entitlements=allowed,
        price_book=plan.price_book,
        effective_at=timestamp(command.now),
        upgrade=command.upgrade,
        **more,
    )


def _schedule(command: SetPlan, state: Account) -> list[BillingEvent]:
    last = state.last_period
    if last is None:
        raise NoAccount(command.org)
    if state.scheduled is not None and state.scheduled.plan == command.plan:
        return []
    if state.scheduled is None and state.plan == command.plan:
        return []
    effective_at = max(last.ends_at, period_at(state.anchor, command.now).ends_at)
    return [
        PlanChangeScheduled(
            org=command.org,
            plan=command.plan,
            effective_at=effective_at,
            actor=command.actor,
            reason=command.reason,
        )
    ]


def open_periods(org: str, state: Account, now: datetime, catalog: Catalog) -> list[BillingEvent]:
    """The periods that are missing, at the prices of the current plan, and the change that was scheduled for one."""
    current, last = period_at(state.anchor, now), state.last_period
    period = period_at(state.anchor, datetime.fromisoformat(last.ends_at)) if last is not None else current
    events: list[BillingEvent] = []
    while period.starts_at <= current.starts_at and state.plan is not None:
        if (scheduled := state.scheduled) is not None and scheduled.effective_at <= period.starts_at:
            plan = catalog.plans.get(scheduled.plan)
            if plan is not None and plan.plan != state.plan:
                changed = PlanChanged(
                    org=org,
                    plan=plan.plan,
                    plan_version=plan.version,
                    anchor=state.anchor,
                    entitlements=plan.entitlements,
                    price_book=plan.price_book,
                    effective_at=period.starts_at,
                    actor=scheduled.actor,
                    reason=scheduled.reason,
                )
                events.append(changed)
                state = evolve(state, changed)
        assert state.plan is not None
        standing = catalog.plans.get(state.plan)
        book = state.price_book or (standing.price_book if standing else PriceBook(version="none"))
        opened = PeriodOpened(
            org=org,
            period=period.id,
            starts_at=period.starts_at,
            ends_at=period.ends_at,
            plan=state.plan,
            plan_version=state.plan_version or book.version,
            price_book=book,
            currency=book.currency,
            seller=catalog.seller.id,
            customer=org,
        )
        events.append(opened)
        state = evolve(state, opened)
        period = period_after(state.anchor, period)
    return events


def evolve(state: Account, event: BillingEvent) -> Account:
    """The account after an event. What does not concern its state leaves it as it is."""
    match event:
        case PlanChanged():
            return replace(
                state,
                plan=event.plan,
                plan_version=event.plan_version,
                entitlements=event.entitlements,
                price_book=event.price_book,
                anchor=event.anchor,
                opened_at=state.opened_at or event.effective_at,
                scheduled=None,
            )
        case PlanChangeScheduled():
            return replace(state, scheduled=event)
        case PeriodOpened():
            return replace(state, periods={**state.periods, event.period: event})
        case PeriodClosed():
            return replace(state, closed={**state.closed, event.period: event})
        case AdjustmentPosted():
            waiting = {**state.adjustments, event.adjustment: event}
            return replace(state, adjustments=waiting, posted=(*state.posted, event))
        case CreditGranted():
            credit = Credit(event.amount_nano, event.currency, event.expires_at)
            return replace(state, credits={**state.credits, event.credit: credit})
        case CouponRedeemed():
            redeemed = Coupon(event.terms, event.terms.periods)
            return replace(state, coupons={**state.coupons, event.coupon: redeemed})
        case CustomerDetailsChanged():
            return replace(state, customer=event)
        case InvoiceIssued():
            return _issued(state, event)
        case StripeObjectObserved():
            customer = event.object if event.kind == "customer" else state.stripe_customer
            seen = {**state.observed, event.object: event.status}
            return replace(state, stripe_customer=customer, observed=seen)
        case InvoicePaid():
            return _invoice(state, event.invoice, paid=event, failures=0)
        case PaymentFailed():
            return _invoice(state, event.invoice, failures=event.attempt)
        case InvoiceMirrored():
            return _invoice(state, event.invoice, stripe=event.object)
        case CreditNoteIssued():
            known = state.invoices.get(event.corrects)
            state = replace(state, credit_notes={**state.credit_notes, event.invoice: event})
            return _invoice(state, event.corrects, corrected=(known.corrected if known else 0) + event.total)
        case ReconciliationDrift():
            return replace(state, drifts=state.drifts | {(event.object, event.field, event.theirs)})
        case StorageMeasured():
            return replace(state, storage_day=event.day)
        case QuotaThresholdReached():
            return replace(state, alerted=state.alerted | {(event.period, event.meter, event.percent)})
        case _:
            return state


def _issued(state: Account, event: InvoiceIssued) -> Account:
    credits = {
        id: replace(credit, left=credit.left - event.credits_used.get(id, 0))
        for id, credit in state.credits.items()
    }
    if event.carried_nano:
        credits[event.invoice] = Credit(event.carried_nano, event.currency, None)
    billed = set(event.adjustments)
    coupons = {
        code: replace(coupon, left=coupon.left - (code in event.coupons_used))
        for code, coupon in state.coupons.items()
    }
    return replace(
        state,
        coupons=coupons,
        invoices={**state.invoices, event.invoice: Invoiced(event)},
        credits=credits,
        adjustments={id: posted for id, posted in state.adjustments.items() if id not in billed},
    )


def _invoice(state: Account, invoice: str, **changes: Any) -> Account:
    known = state.invoices.get(invoice)
    if known is None:
        return state
    return replace(state, invoices={**state.invoices, invoice: replace(known, **changes)})


def fold(events: Sequence[BillingEvent]) -> Account:
    """The account after these events."""
    state = initial_state
    for event in events:
        state = evolve(state, event)
    return state
