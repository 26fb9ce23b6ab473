"""The double of Stripe against what Stripe publishes, and what the adapter makes of its faults.

Its objects have no field and no state that Stripe's typed classes do not have, in the pinned version, and every field that
Stripe's own example of that object has, with a value of the same JSON type.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal, get_args, get_origin

import pytest
import stripe

import stripe_double as double_module
from remote_claude.billing import stripe_adapter
from remote_claude.billing.stripe_adapter import BadSignature, Stripe
from stripe_double import API_VERSION, EXAMPLES, KEY, SECRET, StripeDouble, signature, stripe_double

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
GONE = {("invoice", "subscription")}
"""Fields of the examples that the pinned version does not have."""
INVOICE = {
    "invoice": "inv_1", "number": "INV-000001", "currency": "usd", "customer": {"org": "org_1"}, "period": {"id": "2026-11"},
    "lines": [{"line": 1, "amount": 2900, "description": "Plan pro-1"}],
}  # fmt: skip


def objections(found: dict[str, Any]) -> list[str]:
    """What the vendor's class and example of an object say against it."""
    kind = found["object"]
    fields, example = _fields(CLASSES[kind]), EXAMPLES[kind]
    wrong = [f"{kind}.{name} is unknown" for name in found if name != "id" and name not in fields]
    wrong += [
        f"{kind}.{name} is missing" for name in example if name not in found and (kind, name) not in GONE
    ]
    for name in found.keys() & fields.keys():
        value, allowed = found[name], _literals(fields[name])
        if isinstance(value, str) and allowed and value not in allowed:
            wrong.append(f"{kind}.{name}={value}")
        if None not in (value, example.get(name)) and _json_type(value) != _json_type(example[name]):
            wrong.append(f"{kind}.{name}={value!r} is not like {example[name]!r}")
    return wrong


def _fields(kind: type) -> dict[str, Any]:
    return dict(kind.__annotations__)


def _json_type(value: Any) -> type:
    return int if isinstance(value, int) and not isinstance(value, bool) else type(value)


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


async def test_a_change_whose_answer_was_lost_is_made_once() -> None:
    with stripe_double() as double:
        double.delivery = "drop"
        client = Stripe(KEY, SECRET, double.url)
        double.unanswered = 1
        session = await client.checkout(
            "org_1", "pro", "user_1", customer=None, back="http://x/", text="", key="k"
        )
        double.unanswered = 2
        mirrored = await client.mirror(INVOICE, session.customer or "", "key")
        kinds = Counter(one["object"] for one in double.objects.values())
    assert kinds == {"customer": 1, "checkout.session": 1, "invoice": 1, "invoiceitem": 1}
    assert mirrored.amount == 2900


def test_a_webhook_is_read_in_either_form_and_refused_when_it_says_something_else() -> None:
    client = Stripe(KEY, SECRET)
    double = StripeDouble()
    double.delivery = "hold"
    found = {"id": "in_1", "object": "invoice"}
    for thin in (False, True):
        double.thin = thin
        double.notify("invoice.paid", found)
    sent = double.held
    snapshot, thinner = (client.notice(payload, signature(payload)) for payload in sent)
    assert (snapshot.kind, snapshot.object, snapshot.api_version) == ("invoice.paid", "in_1", API_VERSION)
    assert (thinner.kind, thinner.object, thinner.api_version) == ("invoice.paid", "in_1", None)
    for payload in (b"[]", b"{}", b'{"object": "v2.core.event", "type": "v1.x"}', b"not JSON"):
        with pytest.raises(BadSignature):
            client.notice(payload, signature(payload))
    with pytest.raises(BadSignature):
        client.notice(sent[0], signature(sent[1]))
    with pytest.raises(BadSignature):
        Stripe(KEY, None).notice(sent[0], signature(sent[0]))


async def test_a_payment_that_failed_is_tried_again_as_time_passes() -> None:
    with stripe_double() as double:
        double.delivery = "drop"
        client = Stripe(KEY, SECRET, double.url)
        session = await client.checkout(
            "org_1", "pro", "user_1", customer=None, back="http://x/", text="", key="k"
        )
        double.complete(session.page or "", card="4000000000000002")
        await client.fetch(session.object)
        mirrored = await client.mirror(INVOICE, session.customer or "", "key")
        attempts = []
        for days in (0, 2, 1, 100):
            double.advance(days)
            seen = await client.fetch(mirrored.object)
            assert seen is not None
            attempts.append((seen.status, seen.attempt))
    assert attempts == [("open", 1), ("open", 1), ("open", 2), ("open", 4)]


def test_both_pin_the_version_of_the_library() -> None:
    assert stripe.api_version == stripe_adapter.API_VERSION == double_module.API_VERSION
