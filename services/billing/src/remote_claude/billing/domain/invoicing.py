"""The decider that closes periods, and issues, pays and corrects their invoices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from remote_claude.billing.domain.account import BILLING, Account
from remote_claude.contracts.billing import (
    AdjustmentPosted,
    BillingEvent,
    CouponRedeemed,
    CreditGranted,
    CreditNoteIssued,
    CustomerDetailsChanged,
    InvoiceIssued,
    InvoicePaid,
    MeteredQuantity,
    PaymentFailed,
    PaymentMethod,
    PeriodClosed,
    QuotaThresholdReached,
    StorageMeasured,
)
from remote_claude.contracts.payments import (
    ReconciliationDrift,
    StripeObjectObserved,
)
from remote_claude.contracts.refusals import Refusal
from remote_claude.eventsourcing.events import timestamp


class BillingRefusal(Refusal):
    """A command of billing can't be carried out."""

    status = 409


class PeriodNotOver(BillingRefusal):
    """The period is still running."""

    code = "period_not_over"


class PeriodNotInvoiced(BillingRefusal):
    """An earlier period has no invoice yet."""

    code = "period_not_invoiced"


class UnknownInvoice(BillingRefusal):
    """The organisation has no such invoice."""

    status = 404
    code = "invoice_not_found"


class CreditTooLarge(BillingRefusal):
    """The credit notes of an invoice would exceed its total."""

    code = "credit_too_large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """What came late for a closed period: the quantities, and what they change of its bill."""

    period: str
    position: int
    amount_nano: int
    quantities: tuple[MeteredQuantity, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosePeriod:
    """Close a period, and post what came late for earlier ones. `early`: although it has not ended."""

    org: str
    period: str
    now: datetime
    position: int
    late: tuple[Late, ...] = ()
    early: bool = False
    actor: str = BILLING


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueInvoice:
    """Record an invoice whose documents are stored. One over nothing is settled at once."""

    issued: InvoiceIssued


@dataclass(frozen=True, slots=True, kw_only=True)
class PayInvoice:
    """Record that an invoice was paid. A second time changes nothing."""

    org: str
    invoice: str
    now: datetime
    method: PaymentMethod
    reference: str | None = None
    actor: str = BILLING


@dataclass(frozen=True, slots=True, kw_only=True)
class FailPayment:
    """Record that an attempt to collect an invoice failed. An attempt that is known changes nothing."""

    org: str
    invoice: str
    attempt: int
    reason: str
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observe:
    """Record the state of an object at the payment provider, unless it is the one recorded last."""

    observed: StripeObjectObserved


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantCredit:
    """Let invoices take `amount_nano` from a credit. The same id again changes nothing."""

    granted: CreditGranted


@dataclass(frozen=True, slots=True, kw_only=True)
class RedeemCoupon:
    """Take a coupon from the next invoices. An organisation redeems a coupon once; again changes nothing."""

    redeemed: CouponRedeemed


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueCreditNote:
    """Record a credit note whose documents are stored. The same id again changes nothing."""

    issued: CreditNoteIssued


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeCustomer:
    """Make invoices out to somebody else from the next closing on."""

    changed: CustomerDetailsChanged


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachThreshold:
    """Record that a share of a quota is used; each share once a period."""

    reached: QuotaThresholdReached


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureStorage:
    """Record what the organisation stores on a day; a day that is measured changes nothing."""

    measured: StorageMeasured


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordDrift:
    """Record that Stripe differs from us; the same difference again changes nothing."""

    drift: ReconciliationDrift


InvoicingCommand = (
    ClosePeriod
    | IssueInvoice
    | PayInvoice
    | FailPayment
    | Observe
    | GrantCredit
    | RedeemCoupon
    | IssueCreditNote
    | ChangeCustomer
    | ReachThreshold
    | MeasureStorage
    | RecordDrift
)


def decide(command: InvoicingCommand, account: Account) -> list[BillingEvent]:
    """What follows from a command. Raises `PeriodNotOver`, `PeriodNotInvoiced`, `UnknownInvoice`, `CreditTooLarge`."""
    match command:
        case IssueCreditNote(issued=note):
            return _correct(note, account)
        case ChangeCustomer(changed=changed):
            return [changed]
        case RecordDrift(drift=drift):
            return [] if (drift.object, drift.field, drift.theirs) in account.drifts else [drift]
        case ReachThreshold(reached=reached):
            known_threshold = (reached.period, reached.meter, reached.percent) in account.alerted
            return [] if known_threshold else [reached]
        case MeasureStorage(measured=measured):
            return [measured] if account.storage_is_due(measured.day) else []
        case ClosePeriod():
            return _close(command, account)
        case IssueInvoice(issued=issued):
            if issued.invoice in account.invoices:
                return []
            if issued.total:
                return [issued]
            settled = InvoicePaid(
                org=issued.org, invoice=issued.invoice, amount=0, currency=issued.currency, method="none",
                paid_at=issued.issued_at, actor=BILLING,
            )  # fmt: skip
            return [issued, settled]
        case FailPayment():
            known = account.invoices.get(command.invoice)
            if known is None or known.paid is not None or known.failures >= command.attempt:
                return []
            return [
                PaymentFailed(
                    org=command.org,
                    invoice=command.invoice,
                    attempt=command.attempt,
                    reason=command.reason,
                    reference=command.reference,
                )
            ]
        case Observe(observed=observed):
            return [] if account.observed.get(observed.object) == observed.status else [observed]
        case GrantCredit(granted=granted):
            return [] if granted.credit in account.credits else [granted]
        case RedeemCoupon(redeemed=redeemed):
            return [] if redeemed.coupon in account.coupons else [redeemed]
        case PayInvoice():
            known = account.invoices.get(command.invoice)
            if known is None:
                raise UnknownInvoice(f"There is no invoice {command.invoice} of {command.org}.")
            if known.paid is not None:
                return []
            return [
                InvoicePaid(
                    org=command.org,
                    invoice=command.invoice,
                    amount=known.due,
                    currency=known.issued.currency,
                    method=command.method,
                    reference=command.reference,
                    paid_at=timestamp(command.now),
                    actor=command.actor,
                )
            ]


def _correct(note: CreditNoteIssued, account: Account) -> list[BillingEvent]:
    if note.invoice in account.credit_notes:
        return []
    known = account.invoices.get(note.corrects)
    if known is None:
        raise UnknownInvoice(f"There is no invoice {note.corrects} of {note.org}.")
    if known.corrected + note.total > known.issued.total:
        left = known.issued.total - known.corrected
        raise CreditTooLarge(
            f"{known.issued.number} can be corrected by {left} {note.currency} minor units at most."
        )
    if known.paid is None or not known.paid.amount:
        return [note]
    return [note.model_copy(update={"refund": "stripe" if known.paid.method == "stripe" else "manual"})]


def _close(command: ClosePeriod, account: Account) -> list[BillingEvent]:
    opened = account.periods[command.period]
    if command.period in account.closed:
        return []
    if timestamp(command.now) < opened.ends_at and not command.early:
        raise PeriodNotOver(f"{command.period} ends at {opened.ends_at}; --now closes it before.")
    invoiced = {known.issued.period for known in account.invoices.values()}
    if waiting := account.closed.keys() - invoiced:
        raise PeriodNotInvoiced(f"{min(waiting)} is closed and has no invoice yet: close it again first.")
    events: list[BillingEvent] = [
        AdjustmentPosted(
            org=command.org,
            adjustment=f"adj_{command.org.removeprefix('org_')}_{late.period}_{late.position}",
            period=late.period,
            position=late.position,
            amount_nano=late.amount_nano,
            quantities=late.quantities,
            reason="late_usage",
            actor=BILLING,
        )
        for late in command.late
        if late.period in account.closed
    ]
    closed = PeriodClosed(
        org=command.org, period=command.period, position=command.position, actor=command.actor
    )
    return [*events, closed]
