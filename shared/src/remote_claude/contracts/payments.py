"""Events of billing about its payment provider: what was received from it, and what was sent to it."""

from __future__ import annotations

from typing import ClassVar, Literal

from remote_claude.contracts.base import Event
from remote_claude.contracts.billing import BillingEvent


class WebhookReceived(Event):
    """The payment provider says that something happened to `object`. A hint only: the object is fetched again.

    `webhook` follows from the provider's own id, so that a repetition is refused by its guard. `payload_sha256` is of
    the raw bytes, whose signature was good.
    """

    type: ClassVar[str] = "WebhookReceived"
    version: ClassVar[int] = 1
    producer: ClassVar[str] = "billing"
    aggregate: ClassVar[str] = "webhook"
    in_organisation: ClassVar[bool] = False

    webhook: str
    provider: Literal["stripe"] = "stripe"
    provider_event: str
    kind: str
    object: str
    api_version: str | None = None
    payload_sha256: str


class StripeObjectObserved(BillingEvent):
    """What Stripe said of one of its objects when it was fetched: `kind` is its type, `status` its own word.

    `plan` is set for a Checkout session, `invoice` for an invoice that mirrors one of ours.
    """

    type: ClassVar[str] = "StripeObjectObserved"
    version: ClassVar[int] = 1

    kind: Literal["customer", "checkout.session", "invoice"]
    object: str
    status: str
    customer: str | None = None
    plan: str | None = None
    invoice: str | None = None
    attempt: int | None = None
    amount: int | None = None
    observed_at: str


class WebhookHandled(Event):
    """The outcome of fetching the object that a webhook names: `observed`, `unrelated` (no organisation of ours has it),
    or a stable reason why it was given up."""

    type: ClassVar[str] = "WebhookHandled"
    version: ClassVar[int] = 1
    producer: ClassVar[str] = "billing"
    aggregate: ClassVar[str] = "webhook"
    in_organisation: ClassVar[bool] = False

    webhook: str
    outcome: str


class InvoiceMirrored(BillingEvent):
    """Stripe collects our invoice as `object`, which its customer pays at `page`."""

    type: ClassVar[str] = "InvoiceMirrored"
    version: ClassVar[int] = 1

    invoice: str
    object: str
    status: str
    page: str | None = None


class CreditNoteMirrored(BillingEvent):
    """Stripe has the credit note `invoice` as `object`, and has paid back what is to be paid back."""

    type: ClassVar[str] = "CreditNoteMirrored"
    version: ClassVar[int] = 1

    invoice: str
    object: str
    status: str


class MirroringFailed(BillingEvent):
    """Stripe has not taken the invoice or credit note, for a stable `reason`. It can be paid, or paid back, by hand."""

    type: ClassVar[str] = "MirroringFailed"
    version: ClassVar[int] = 1

    invoice: str
    reason: str


class ReconciliationDrift(BillingEvent):
    """Our record of an invoice and Stripe's differ in `field`."""

    type: ClassVar[str] = "ReconciliationDrift"
    version: ClassVar[int] = 1

    invoice: str
    object: str
    field: str
    ours: str
    theirs: str
