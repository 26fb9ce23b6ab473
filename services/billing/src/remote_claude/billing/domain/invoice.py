"""The content of an invoice: from a bill, adjustments and credits to lines in the currency's unit, and to a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from remote_claude.billing.domain.account import Account
from remote_claude.billing.domain.bill import Bill
from remote_claude.billing.domain.rating import Line
from remote_claude.contracts.base import canonical_json
from remote_claude.contracts.billing import CouponTerms, Seller
from remote_claude.contracts.meters import declared
from remote_claude.eventsourcing.events import timestamp

NANO = 10**9
MINOR_DIGITS = {"jpy": 0, "krw": 0, "vnd": 0, "clp": 0}
"""Digits behind the point of currencies that do not have two."""

DESCRIPTIONS = {
    "subscription": "Plan {price_book}",
    "minimum": "Minimum of plan {price_book}",
} | {name: meter.name for name, meter in declared().meters.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """An invoice before it is issued. Amounts are in the currency's smallest unit."""

    lines: Sequence[Mapping[str, Any]]
    subtotal: int
    tax: int
    total: int
    credits_used: Mapping[str, int] = field(default_factory=dict)
    coupons_used: Mapping[str, int] = field(default_factory=dict)
    carried_nano: int = 0


def minor_digits(currency: str) -> int:
    """How many digits an amount of the currency has behind its point."""
    return MINOR_DIGITS.get(currency, 2)


def draft(bill: Bill, account: Account, seller: Seller, at: str) -> Invoice:
    """The content of an invoice. `account` is as it was when the period was closed; `at` is when the invoice is issued.

    Each line is rounded once, the total is the sum of the lines. What would make it negative is a credit for later.
    """
    unit = NANO // 10 ** minor_digits(bill.currency)
    lines: list[dict[str, Any]] = [_usage_line(line, unit) for line in bill.lines]
    for posted in account.adjustments.values():
        amount = round(Fraction(posted.amount_nano, unit))
        lines.append(
            {
                "kind": "adjustment",
                "description": f"Adjustment of {posted.period}: {posted.reason.replace('_', ' ')}",
                "adjustment": posted.adjustment,
                "period": posted.period,
                "amount_nano": posted.amount_nano,
                "amount": amount,
            }
        )
    net, carried = sum(line["amount"] for line in lines), 0
    if net < 0:
        carried = -net * unit
        lines.append(_plain("carried", "Carried over to the next invoice", -net))
        net = 0
    redeemed: dict[str, int] = {}
    for code, coupon in account.coupons.items():
        taken = _discount(coupon.terms, net, unit, bill.currency) if coupon.left else 0
        if taken > 0:
            redeemed[code] = taken * unit
            net -= taken
            part = f": {coupon.terms.percent} %" if coupon.terms.percent is not None else ""
            lines.append(_plain("coupon", f"Coupon {code}{part}", -taken) | {"coupon": code})
    used: dict[str, int] = {}
    for id, credit in account.credits.items():
        if credit.currency != bill.currency or (credit.expires_at or at) < at:
            continue
        taken = min(credit.left // unit, net)
        if taken > 0:
            used[id] = taken * unit
            net -= taken
            lines.append(_plain("credit", "Credit", -taken) | {"credit": id})
    country = account.customer.country if account.customer is not None else None
    percent = seller.tax_percent.get(country or "")
    tax = round(net * Fraction(percent) / 100) if percent is not None else 0
    if percent is not None:
        lines.append(_plain("tax", f"Tax {percent} % ({country})", tax))
    numbered = [{"line": n, **line} for n, line in enumerate(lines, 1)]
    return Invoice(
        lines=numbered, subtotal=net, tax=tax, total=net + tax, credits_used=used, coupons_used=redeemed,
        carried_nano=carried,
    )  # fmt: skip


def _discount(terms: CouponTerms, net: int, unit: int, currency: str) -> int:
    """What a coupon takes of a net amount, never more than all of it: both in the currency's smallest unit."""
    if terms.percent is not None:
        return round(net * Fraction(terms.percent) / 100)
    if terms.amount_nano is None or terms.currency != currency:
        return 0
    return min(terms.amount_nano // unit, net)


def _plain(kind: str, description: str, amount: int) -> dict[str, Any]:
    return {"kind": kind, "description": description, "amount": amount}


def _usage_line(line: Line, unit: int) -> dict[str, Any]:
    description = DESCRIPTIONS.get(line.meter, line.meter).format(price_book=line.price_book)
    detail = " ".join(part for part in (line.model, line.token) if part)
    return {
        "kind": "usage",
        "description": f"{description} {detail}".strip(),
        "meter": line.meter,
        "model": line.model,
        "token": line.token,
        "segment": line.segment,
        "price_book": line.price_book,
        "unit": line.unit,
        "quantity": str(line.quantity),
        "included": str(line.included),
        "unit_price": line.unit_price,
        "share": str(line.share),
        "amount_nano": line.amount_nano,
        "amount": round(line.exact / unit),
    }


def document(
    invoice: Invoice,
    bill: Bill,
    account: Account,
    seller: Seller,
    *,
    customer: Mapping[str, Any] | None = None,
    id: str,
    number: str,
    issued_at: str,
    closed_at: int,
) -> dict[str, Any]:
    """The invoice as it is stored: what `canonical_json` makes bytes of. `customer` has name, address and VAT id."""
    shown = {name: (customer or {}).get(name) for name in ("name", "address", "vat_id")}
    return {
        "document": "invoice",
        "invoice": id,
        "number": number,
        "seller": seller.model_dump(mode="json", include={"id", "legal_name", "address", "tax_id"}),
        "customer": {
            "org": bill.org,
            "country": account.customer.country if account.customer else None,
            **shown,
        },
        "currency": bill.currency,
        "minor_digits": minor_digits(bill.currency),
        "period": {"id": bill.period, "starts_at": bill.starts_at, "ends_at": bill.ends_at},
        "issued_at": issued_at,
        "due_at": due_at(seller, issued_at),
        "closed_at": closed_at,
        "lines": list(invoice.lines),
        "subtotal": invoice.subtotal,
        "tax": invoice.tax,
        "total": invoice.total,
    }


def credit_note(
    invoice: Mapping[str, Any], *, id: str, number: str, amount: int, reason: str, issued_at: str
) -> dict[str, Any]:
    """The document of a credit note that takes `amount` of an invoice's document back, its part of the tax included."""
    tax = round(Fraction(amount * invoice["tax"], invoice["total"]))
    text = f"Correction of {invoice['number']}: {reason}"
    lines = [_plain("correction", text, amount - tax)]
    if invoice["tax"]:
        lines.append(
            _plain("tax", next(i["description"] for i in invoice["lines"] if i["kind"] == "tax"), tax)
        )
    kept = ("seller", "customer", "currency", "minor_digits", "period", "closed_at")
    return {name: invoice[name] for name in kept} | {
        "document": "credit_note",
        "invoice": id,
        "number": number,
        "corrects": {"invoice": invoice["invoice"], "number": invoice["number"]},
        "issued_at": issued_at,
        "due_at": issued_at,
        "lines": [{"line": n, **line} for n, line in enumerate(lines, 1)],
        "subtotal": amount - tax,
        "tax": tax,
        "total": amount,
    }


def due_at(seller: Seller, issued_at: str) -> str:
    """When an invoice has to be paid."""
    return timestamp(datetime.fromisoformat(issued_at) + timedelta(days=seller.due_days))


def as_bytes(contents: Mapping[str, Any]) -> bytes:
    """The bytes of a document: canonical JSON."""
    return canonical_json(dict(contents))
