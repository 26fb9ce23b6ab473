"""Events of billing: plans, periods, invoices, payments."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from remote_claude.contracts.base import Event, Quantity, Sealed, Value
from remote_claude.contracts.model_prices import ModelPrices
from remote_claude.contracts.periods import CALENDAR, Anchor
from remote_claude.contracts.prices import PriceBook

Proration = Literal["seconds", "none"]
"""How a change within a period is billed. `seconds`: the old and the new prices each for their share of its seconds.
`none`: the prices of the period stay until it ends."""


SupportTier = Literal["community", "email", "priority"]
"""`community`: pages and discussions, no tickets. `email`: tickets. `priority`: tickets that are answered first."""


class Retention(Value):
    """For how many days after its end a task's content is kept. None: as long as the organisation exists.

    `output` is what its agent printed, kept for at least the week that the broker has it as well; `artifacts` its result:
    commits, patch and files; `checkpoints` the agent's conversation and working tree.
    """

    output_days: Annotated[int | None, Field(ge=7)] = None
    artifacts_days: Annotated[int | None, Field(ge=1)] = None
    checkpoints_days: Annotated[int | None, Field(ge=1)] = None


class Entitlements(Value):
    """What a plan allows. None means unlimited.

    `vcpu_millis`, `memory_mib` and `duration_s` bound one attempt; `concurrency` the attempts at one time; `members` and
    `storage_bytes` the organisation. `model_nano_usd` bounds the model dollars of a period, `total_nano_usd` what
    all use of it comes to without flat amounts. With `overage`, more
    executions than `executions_per_month` are admitted, and charged; its limits of storage and money are soft as well. `weight` is the share of the queue, against others'.
    """

    executions_per_month: int | None
    vcpu_millis: int
    memory_mib: int
    duration_s: int
    concurrency: int | None = None
    members: int | None = None
    storage_bytes: Quantity | None = None
    model_nano_usd: Quantity | None = None
    total_nano_usd: Quantity | None = None
    overage: bool = False
    weight: Annotated[int, Field(ge=1)] = 1
    support: SupportTier = "community"
    retention: Retention = Retention()


class Plan(Value):
    """A plan as it is offered: what it allows, what it costs, and which plan to suggest to those who need more."""

    plan: Annotated[str, Field(pattern="^[a-z0-9-]+$")]
    version: str
    entitlements: Entitlements
    price_book: PriceBook
    upgrade_to: str | None = None
    self_service: bool = False
    """Whether a customer can choose it without an operator."""


class Seller(Value):
    """Who issues invoices. `prefix` begins their numbers. `tax_percent` is by country code, as decimal strings."""

    id: Annotated[str, Field(pattern="^[a-z0-9-]+$")] = "default"
    legal_name: str = "Remote Claude"
    address: tuple[str, ...] = ()
    tax_id: str | None = None
    prefix: str = "INV-"
    due_days: Annotated[int, Field(ge=0)] = 14
    tax_percent: dict[str, Annotated[str, Field(pattern=r"^\d{1,2}(\.\d{1,4})?$")]] = Field(
        default_factory=dict
    )


class BillingEvent(Event):
    producer: ClassVar[str] = "billing"
    aggregate: ClassVar[str] = "account"

    org: str


class PlansPublished(Event):
    """The plans that can be chosen from here on, and who sells them. An account keeps what it has until it changes."""

    type: ClassVar[str] = "PlansPublished"
    version: ClassVar[int] = 1
    producer: ClassVar[str] = "billing"
    aggregate: ClassVar[str] = "catalog"
    in_organisation: ClassVar[bool] = False

    catalog: str
    plans: tuple[Plan, ...]
    seller: Seller
    actor: str | None = None


class ModelPricesPublished(Event):
    """What models cost for attempts that begin from here on: the whole table, with what an operator has overridden."""

    type: ClassVar[str] = "ModelPricesPublished"
    version: ClassVar[int] = 1
    producer: ClassVar[str] = "billing"
    aggregate: ClassVar[str] = "catalog"
    in_organisation: ClassVar[bool] = False

    prices: ModelPrices
    actor: str | None = None


class PlanChanged(BillingEvent):
    """The organisation is on `plan` from `effective_at` on. What the plan allows and costs travels with it.

    `plan_version` names the published version of the plan. `anchor` says which periods the account has; it never
    changes. `actor` is who changed it (a person, an operator, `billing`), `reason` a stable code. `contract` names the
    agreement that `entitlements` differ for. `upgrade` is the text for users who reach a limit.
    """

    type: ClassVar[str] = "PlanChanged"
    version: ClassVar[int] = 1

    plan: str
    plan_version: str = "1"
    anchor: Anchor = CALENDAR
    entitlements: Entitlements
    price_book: PriceBook | None = None
    effective_at: str | None = None
    proration: Proration = "seconds"
    actor: str | None = None
    reason: str | None = None
    contract: str | None = None
    upgrade: str | None = None


class PlanChangeScheduled(BillingEvent):
    """The organisation goes to `plan` when its period ends, at `effective_at`. A `PlanChanged` before that replaces it."""

    type: ClassVar[str] = "PlanChangeScheduled"
    version: ClassVar[int] = 1

    plan: str
    effective_at: str
    actor: str | None = None
    reason: str | None = None


class PeriodOpened(BillingEvent):
    """Usage from `starts_at` up to, not including, `ends_at` is billed at the prices in `price_book`.

    A `PlanChanged` with proration within the period begins a segment with other prices. `seller` and `customer` are ids.
    """

    type: ClassVar[str] = "PeriodOpened"
    version: ClassVar[int] = 1

    period: str
    starts_at: str
    ends_at: str
    plan: str
    plan_version: str
    price_book: PriceBook
    currency: str = "usd"
    seller: str = "default"
    customer: str


class StorageMeasured(BillingEvent):
    """The objects of the organisation hold `size` bytes on `day`, a day in UTC: its part of the period's byte-days.

    Objects are output, bundles, patches, artifacts, checkpoints and batches, as they are stored. One for each day.
    """

    type: ClassVar[str] = "StorageMeasured"
    version: ClassVar[int] = 1

    day: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    size: Quantity
    measured_at: str


class PeriodClosed(BillingEvent):
    """What the log says of the period's usage before this event's own position is invoiced. `position` is the last one
    that the decision saw. What follows is an adjustment."""

    type: ClassVar[str] = "PeriodClosed"
    version: ClassVar[int] = 1

    period: str
    position: int
    actor: str | None = None


class MeteredQuantity(Value):
    """`quantity` of a meter in its smallest unit; negative where it takes back. `segment` counts those of the period."""

    meter: str
    model: str | None = None
    token: str | None = None
    segment: int = 0
    quantity: int


class AdjustmentPosted(BillingEvent):
    """Usage of a closed `period` that came late, or a correction. It goes on the next invoice and names its own period.

    `position` is up to where late usage is in it. `amount_nano` is signed, in billionths of the currency's unit.
    """

    type: ClassVar[str] = "AdjustmentPosted"
    version: ClassVar[int] = 1

    adjustment: str
    period: str
    position: int
    amount_nano: int
    quantities: tuple[MeteredQuantity, ...] = ()
    reason: str
    actor: str | None = None


class CreditGranted(BillingEvent):
    """Invoices take from this credit until it is spent or `expires_at` is over."""

    type: ClassVar[str] = "CreditGranted"
    version: ClassVar[int] = 1

    credit: str
    amount_nano: int
    currency: str = "usd"
    expires_at: str | None = None
    reason: str
    actor: str | None = None


class CouponTerms(Value):
    """What a coupon takes off an invoice: `percent` of it, or `amount_nano` billionths of the currency's unit.

    It takes from the next `periods` invoices that have something to pay.
    """

    percent: Annotated[str, Field(pattern=r"^(100|\d{1,2}(\.\d{1,4})?)$")] | None = None
    amount_nano: Quantity | None = None
    currency: str = "usd"
    periods: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.percent is None) == (self.amount_nano is None):
            raise ValueError("a coupon has a percent or an amount")
        return self


class CouponCreated(Event):
    """Organisations can redeem this coupon, each once, until `redeem_by`, and no more than `max_redemptions` of them."""

    type: ClassVar[str] = "CouponCreated"
    version: ClassVar[int] = 1
    producer: ClassVar[str] = "billing"
    aggregate: ClassVar[str] = "coupon"
    in_organisation: ClassVar[bool] = False

    coupon: Annotated[str, Field(pattern="^[a-z0-9-]{3,40}$")]
    terms: CouponTerms
    redeem_by: str | None = None
    max_redemptions: Annotated[int, Field(ge=1)] | None = None
    actor: str | None = None


class CouponAssigned(Event):
    """One redemption of the coupon belongs to `customer`, an organisation. All of a coupon are in one stream, under one guard."""

    type: ClassVar[str] = "CouponAssigned"
    version: ClassVar[int] = 1
    producer: ClassVar[str] = "billing"
    aggregate: ClassVar[str] = "coupon"
    in_organisation: ClassVar[bool] = False

    coupon: str
    customer: str


class CouponRedeemed(BillingEvent):
    """The organisation's next invoices are lower by the coupon. Its terms travel with it."""

    type: ClassVar[str] = "CouponRedeemed"
    version: ClassVar[int] = 1

    coupon: str
    terms: CouponTerms
    actor: str | None = None


class CustomerDetailsChanged(BillingEvent):
    """Who invoices are made out to: sealed JSON of name, address lines, VAT id and e-mail. The country decides the tax.

    The data key is that of the organisation's invoices. `mailed`: there is an e-mail address to send them to.
    """

    type: ClassVar[str] = "CustomerDetailsChanged"
    version: ClassVar[int] = 1

    details: Sealed
    country: Annotated[str, Field(pattern="^[A-Z]{2}$")] | None = None
    mailed: bool = False
    actor: str | None = None


class InvoiceNumberAssigned(Event):
    """The seller's next number belongs to this document. All numbers of a seller are in one stream, under one guard: no gaps."""

    type: ClassVar[str] = "InvoiceNumberAssigned"
    version: ClassVar[int] = 1
    producer: ClassVar[str] = "billing"
    aggregate: ClassVar[str] = "seller"
    in_organisation: ClassVar[bool] = False

    seller: str
    number: int
    customer: str
    document: str


class InvoiceDocument(BillingEvent):
    """What an invoice and a credit note have in common.

    `json_sha256` and `pdf_sha256` are of the documents, in the object store under the organisation. `renderer` is what
    made the PDF: program, version and template. Amounts are in the currency's smallest unit. `positions` of the log:
    the document is a function of the events up to `closed_at`.
    """

    invoice: str
    number: str
    seller: str
    currency: str
    total: int
    issued_at: str
    json_sha256: str
    pdf_sha256: str
    renderer: str


class InvoiceIssued(InvoiceDocument):
    """An invoice for a closed period. It never changes: corrections are credit notes and adjustments.

    `closed_at` is the position of its `PeriodClosed`. `credits_used` is by credit, `coupons_used` by coupon, in billionths of the currency's unit;
    what the total could not take of negative adjustments is a credit again, `carried_nano`.
    """

    type: ClassVar[str] = "InvoiceIssued"
    version: ClassVar[int] = 1

    period: str
    closed_at: int
    due_at: str
    subtotal: int
    tax: int
    credits_used: dict[str, int] = Field(default_factory=dict)
    coupons_used: dict[str, int] = Field(default_factory=dict)
    adjustments: tuple[str, ...] = ()
    carried_nano: int = 0
    customer: Sealed | None = None


class CreditNoteIssued(InvoiceDocument):
    """Takes back `total` of the invoice `corrects`, `tax` of it tax.

    One that is not paid has so much less due. One that is paid is paid back: `refund` says by whom.
    """

    type: ClassVar[str] = "CreditNoteIssued"
    version: ClassVar[int] = 1

    corrects: str
    tax: int = 0
    refund: Literal["stripe", "manual"] | None = None
    reason: str
    actor: str | None = None


PaymentMethod = Literal["stripe", "manual", "none"]


class InvoicePaid(BillingEvent):
    """The invoice is settled. `reference` is the payment's own (`in_...` of Stripe, a bank's). `none`: nothing was due."""

    type: ClassVar[str] = "InvoicePaid"
    version: ClassVar[int] = 1

    invoice: str
    amount: int
    currency: str
    method: PaymentMethod
    reference: str | None = None
    paid_at: str
    actor: str | None = None


class PaymentFailed(BillingEvent):
    """An attempt to collect the invoice failed. `attempt` counts from 1; `retry_at` is when the next one follows."""

    type: ClassVar[str] = "PaymentFailed"
    version: ClassVar[int] = 1

    invoice: str
    attempt: int
    reason: str
    reference: str | None = None
    retry_at: str | None = None


class QuotaThresholdReached(BillingEvent):
    """`percent` of what the plan allows of a meter in a period is used: `used` of `limit`, in its smallest unit."""

    type: ClassVar[str] = "QuotaThresholdReached"
    version: ClassVar[int] = 1

    period: str
    meter: str
    percent: Literal[50, 80, 100]
    used: Quantity
    limit: Quantity


class MailSent(BillingEvent):
    """The mail server has taken a mail about `reference`: an invoice, a credit note, or a period."""

    type: ClassVar[str] = "MailSent"
    version: ClassVar[int] = 1

    about: Literal["invoice", "credit_note", "payment_failed", "quota"]
    reference: str


class MailFailed(BillingEvent):
    """A mail was given up, for a stable `reason`."""

    type: ClassVar[str] = "MailFailed"
    version: ClassVar[int] = 1

    about: Literal["invoice", "credit_note", "payment_failed", "quota"]
    reference: str
    reason: str
