"""The double of Stripe has no field and no state that Stripe's own typed classes do not have, for the pinned version."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

import stripe

import stripe_double as double_module
from remote_claude.billing import stripe_adapter
from remote_claude.billing.stripe_adapter import Stripe
from stripe_double import KEY, SECRET, stripe_double

CLASSES: dict[str, Any] = {
    "customer": stripe.Customer,
    "checkout.session": stripe.checkout.Session,
    "setup_intent": stripe.SetupIntent,
    "payment_method": stripe.PaymentMethod,
    "invoice": stripe.Invoice,
    "invoiceitem": stripe.InvoiceItem,
    "credit_note": stripe.CreditNote,
    "billing_portal.session": stripe.billing_portal.Session,
}
INVOICE = {
    "invoice": "inv_1", "number": "INV-000001", "currency": "usd", "customer": {"org": "org_1"}, "period": {"id": "2026-11"},
    "lines": [{"line": 1, "amount": 2900, "description": "Plan pro-1"}],
}  # fmt: skip


def objections(found: dict[str, Any]) -> list[str]:
    """What the vendor's class of an object does not know of it."""
    fields = CLASSES[found["object"]].__annotations__
    unknown = [f"{found['object']}.{name}" for name in found if name != "id" and name not in fields]
    for name in ("status", "mode", "type"):
        allowed = _literals(fields.get(name))
        if name in found and allowed and found[name] not in allowed:
            unknown.append(f"{found['object']}.{name}={found[name]}")
    return unknown


def _literals(annotation: Any) -> set[Any]:
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return set().union(*(_literals(part) for part in get_args(annotation)))


async def test_every_object_of_the_double_is_one_of_the_vendors() -> None:
    with stripe_double() as double:
        double.delivery = "drop"
        client = Stripe(KEY, SECRET, double.url)
        session = await client.checkout(
            "org_1", "pro", "user_1", customer=None, back="http://x/", text="Pro", key="k"
        )
        double.complete(session.page or "")
        fetched = await client.fetch(session.object)
        assert fetched is not None
        assert fetched.status == "complete"
        customer = fetched.customer or ""
        await client.portal(customer, "http://x/")
        mirrored = await client.mirror(INVOICE, customer, "key")
        again = await client.mirror(INVOICE, customer, "key")
        assert again.object == mirrored.object  # by the idempotency keys
        await client.credit_note(mirrored.object, 100, "INV-000002", refund=True, key="key")
        found = list(double.objects.values())
    assert {one["object"] for one in found} == CLASSES.keys()
    assert [objection for one in found for objection in objections(one)] == []


def test_both_pin_the_version_of_the_library() -> None:
    assert stripe.api_version == stripe_adapter.API_VERSION == double_module.API_VERSION
