"""The documents of invoices as the API answers them.

They are signed and hashed as canonical JSON, so an answer has the fields that are stored, no more and no fewer: these are
`TypedDict`s, which add no defaults, and a field that they do not name is an error.
"""

from __future__ import annotations

from typing import Literal, NotRequired

from pydantic import ConfigDict
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from remote_claude.contracts.prices import PriceBook

EXACT = ConfigDict(extra="forbid")


class InvoiceSeller(TypedDict):
    """Who issued the invoice."""

    __pydantic_config__ = EXACT  # type: ignore[misc]  # pydantic's way to configure a TypedDict

    id: str
    legal_name: str
    address: list[str]
    tax_id: str | None


class InvoiceCustomer(TypedDict):
    """Who it is made out to. All but `org` is null where no billing address was set."""

    __pydantic_config__ = EXACT  # type: ignore[misc]  # pydantic's way to configure a TypedDict

    org: str
    country: str | None
    name: str | None
    address: list[str] | None
    vat_id: str | None


class InvoicePeriod(TypedDict):
    """From `starts_at`, before `ends_at`: RFC 3339, UTC."""

    __pydantic_config__ = EXACT  # type: ignore[misc]  # pydantic's way to configure a TypedDict

    id: str
    starts_at: str
    ends_at: str


class InvoiceLine(TypedDict):
    """`amount` is in the currency's smallest unit. Decimals and fractions are strings.

    A line of the kind `usage` has what it was rated from, one of the kind `adjustment` has its period.
    """

    __pydantic_config__ = EXACT  # type: ignore[misc]  # pydantic's way to configure a TypedDict

    line: int
    kind: Literal["usage", "adjustment", "carried", "coupon", "credit", "tax", "correction"]
    description: str
    amount: int
    amount_nano: NotRequired[int]
    meter: NotRequired[str]
    model: NotRequired[str | None]
    token: NotRequired[str | None]
    segment: NotRequired[int]
    price_book: NotRequired[str]
    unit: NotRequired[str]
    quantity: NotRequired[str]
    included: NotRequired[str]
    unit_price: NotRequired[str | None]
    share: NotRequired[str]
    adjustment: NotRequired[str]
    period: NotRequired[str]
    credit: NotRequired[str]
    coupon: NotRequired[str]


class InvoiceContents(TypedDict):
    """An invoice. Amounts are in the currency's smallest unit, which has `minor_digits` digits behind the point."""

    __pydantic_config__ = EXACT  # type: ignore[misc]  # pydantic's way to configure a TypedDict

    document: Literal["invoice"]
    invoice: str
    number: str
    seller: InvoiceSeller
    customer: InvoiceCustomer
    currency: str
    minor_digits: int
    period: InvoicePeriod
    issued_at: str
    due_at: str
    closed_at: int
    lines: list[InvoiceLine]
    subtotal: int
    tax: int
    total: int


class InvoiceDraft(InvoiceContents):
    """An invoice as it would be now, without an id and a number. `state` is `final` once it is issued."""

    state: Literal["draft", "grace", "final"]


class ExportedSegment(TypedDict):
    """A part of the period with prices of its own. `share` is the part of a flat amount, a fraction."""

    __pydantic_config__ = EXACT  # type: ignore[misc]  # pydantic's way to configure a TypedDict

    segment: int
    starts_at: str
    ends_at: str
    share: str
    price_book: PriceBook


class ExportedEvidence(TypedDict):
    """What an event counts for: `quantity` of a meter, in its own unit, a decimal string."""

    __pydantic_config__ = EXACT  # type: ignore[misc]  # pydantic's way to configure a TypedDict

    meter: str
    model: str | None
    token: str | None
    segment: int
    task: str
    attempt: int | None
    event_id: str
    position: int
    quantity: str


class ExportedEvent(TypedDict):
    """An event as it is stored, in base64, with its link of the hash chain in hexadecimal digits."""

    __pydantic_config__ = EXACT  # type: ignore[misc]  # pydantic's way to configure a TypedDict

    position: int
    subject: str
    headers: str
    data: str
    previous: str
    hash: str


class InvoiceExport(TypedDict):
    """An invoice with its prices and events. `signature` (Ed25519, hexadecimal digits) covers the canonical JSON of the rest."""

    __pydantic_config__ = EXACT  # type: ignore[misc]  # pydantic's way to configure a TypedDict

    export: Literal["invoice"]
    version: Literal[1]
    exported_at: str
    invoice: InvoiceContents
    json_sha256: str
    pdf_sha256: str
    segments: list[ExportedSegment]
    evidence: list[ExportedEvidence]
    chain: list[ExportedEvent]
    public_key: str
    signature: str
