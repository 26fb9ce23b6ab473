"""From a limit on Free to a paid invoice on Pro that the log gives again, byte for byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from product import Product, product
from remote_claude.cli import invoice_check
from servers import until
from stripe_double import KEY, SECRET, StripeDouble, signature, stripe_double

PLANS = Path(__file__).parents[2] / "services/billing/src/remote_claude/billing/domain/plans.toml"


PRICE = 'amount = "2900000000000000"'  # $2,900,000 a month: over a dollar a second


@pytest.fixture
def small_plans(tmp_path: Path) -> Path:
    """The plans of a new stack, with a limit that is soon reached, and sandboxes that fit a small machine.

    Pro costs enough that what is left of a month has a price in its last minutes too.
    """
    text = PLANS.read_text().replace("executions_per_month = 100\n", "executions_per_month = 2\n")
    text = text.replace('amount = "29000000000"', PRICE)
    file = tmp_path / "plans.toml"
    text = text.replace("vcpu_millis = 4000", "vcpu_millis = 2000").replace(
        "memory_mib = 8192", "memory_mib = 4096"
    )
    file.write_text(text.replace('"2026-11"', '"test"').replace('"free-1"', '"free-2"'))
    return file


def run(one: Product) -> Any:
    return one.run("run", "--no-repo", "--agent", "shell", "--json", "true")


def paid(one: Product) -> Callable[[], bool]:
    return lambda: one.ok("billing", "invoices", "--json").json[0]["state"] == "paid"


def test_from_the_limit_of_free_to_a_paid_invoice_of_pro(small_plans: Path) -> None:
    with stripe_double() as stripe:
        environment = {
            "RCLAUDE_BILLING_STRIPE_KEY": KEY,
            "RCLAUDE_BILLING_STRIPE_WEBHOOK_SECRET": SECRET,
            "RCLAUDE_BILLING_STRIPE_URL": stripe.url,
        }
        with product(environment) as one:
            _buy_use_and_pay(one, stripe, small_plans)


def _buy_use_and_pay(one: Product, stripe: StripeDouble, plans: Path) -> None:
    org = one.status()["org"]
    stripe.webhooks = f"{one.client().base_url}/v1/billing/webhooks/stripe".replace("//v1", "/v1")
    stripe.delivery = "twice"
    assert one.admin("prices", "publish", str(plans)).code == 0
    assert one.admin("plan", "set", org, "free").code == 0

    assert [run(one).code for _ in range(2)] == [0, 0]
    refused = run(one)
    assert refused.code == 3
    assert "rclaude billing upgrade pro" in refused.json["error"]["detail"]

    lines = ("--line", "1 Some Street", "--line", "Some Town")
    one.ok("billing", "address", "set", "--name", "Example GmbH", *lines, "--country", "de")
    assert one.admin("prices", "tax", "DE", "19").code == 0
    page = one.ok("billing", "upgrade", "pro", "--json").json["url"]
    assert one.ok("usage", "--json").json["plan"] == "free"
    stripe.complete(page)
    until(lambda: one.ok("usage", "--json").json["plan"] == "pro", "the plan pro", pause=0.1)
    assert run(one).code == 0
    by_contract = one.run("billing", "plan", "self-hosted", "--json")
    assert by_contract.json["error"]["code"] == "plan_by_contract"

    unknown = one.admin("billing", "close", "--now", "--org", "org_x")
    assert (unknown.code, "There is no organisation 'org_x'" in unknown.err) == (2, True)
    closed = one.admin("billing", "close", "--now")
    assert closed.code == 0, closed.err
    until(paid(one), "the payment", pause=0.1)
    [invoice] = one.ok("billing", "invoices", "--json").json
    assert (invoice["number"], invoice["state"]) == ("INV-000001", "paid")
    document = one.api(f"/v1/invoices/{invoice['id']}").json()["document"]
    assert document["total"] == invoice["total"] == sum(line["amount"] for line in document["lines"]) > 0
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(canonical.encode()).hexdigest() == invoice["json_sha256"]
    pdf = one.api(f"/v1/invoices/{invoice['number']}/pdf").content
    assert pdf.startswith(b"%PDF")
    assert hashlib.sha256(pdf).hexdigest() == invoice["pdf_sha256"]

    mirrored = [found for found in stripe.objects.values() if found["object"] == "invoice"]
    assert [(found["status"], found["total"]) for found in mirrored] == [("paid", invoice["total"])]
    assert len(one.events("--type", "InvoicePaid")) == 1
    assert len(one.events("--type", "WebhookReceived")) == 2
    assert document["customer"]["name"] == "Example GmbH"
    assert document["tax"] == round(document["subtotal"] * 0.19) > 0

    explained = one.ok("billing", "explain", invoice["number"], "--json").json
    executions = [part for part in explained["lines"] if part["line"].get("meter") == "executions"]
    events = {event["id"]: event for event in one.events()}
    found = [e for part in executions for e in part["events"]]
    assert {events[e["event_id"]]["position"] for e in found} == {e["position"] for e in found}

    again = one.admin("billing", "rederive", invoice["number"])
    assert again.code == 0, again.err
    assert again.out.count("equal") == 2
    _check_without_us(one, invoice["number"], explained)
    _refund(one, stripe, invoice)
    _simulate(one, plans, org)

    assert one.admin("billing", "close", "--now").code == 0
    assert len(one.ok("billing", "invoices", "--json").json) == 1
    assert one.verified()["ok"]
    one.rebuilds_equal()


def _check_without_us(one: Product, number: str, explained: Any) -> None:
    """The signed export passes, and one that was changed anywhere does not."""
    file = one.home.parent / "export.json"
    assert one.ok("billing", "export", number, "--signed", "--output", str(file)).code == 0
    key = one.home / "billing_key.pub"
    report = one.ok("billing", "verify", str(file), "--key", str(key), "--json").json
    assert (report["ok"], report["problems"]) == (True, [])
    links = {link["position"]: link["hash"] for link in json.loads(file.read_text())["chain"]}
    shown = {link["position"]: link["hash"] for line in explained["lines"] for link in line["chain"]}
    assert shown
    assert shown.items() <= links.items()

    def cheaper(document: Any) -> None:
        document["invoice"]["lines"][0]["amount"] -= 1

    def uncounted(document: Any) -> None:
        document["evidence"].pop()

    def rewritten(document: Any) -> None:
        document["chain"][0]["data"] = document["chain"][1]["data"]

    for change in (cheaper, uncounted, rewritten):
        document = json.loads(file.read_text())
        change(document)
        problems = invoice_check.check(document, key.read_text()).problems
        assert len(problems) >= 2, change.__name__  # the signature, and what was changed
    file.write_text(json.dumps(document))
    assert one.run("billing", "verify", str(file)).code == 1


def _refund(one: Product, stripe: StripeDouble, invoice: Any) -> None:
    """A credit note on a paid invoice is paid back by Stripe, once."""
    done = one.admin("billing", "credit-note", invoice["number"], "--amount", "0.11", "--reason", "goodwill")
    assert "Stripe pays it back" in done.out, done.err

    def notes() -> list[Any]:
        return [found for found in stripe.objects.values() if found["object"] == "credit_note"]

    until(lambda: bool(notes()), "the refund", pause=0.1)
    assert [(note["amount"], note["type"]) for note in notes()] == [(11, "post_payment")]
    refused = one.admin(
        "billing", "credit-note", invoice["number"], "--amount", str(invoice["total"] // 100 + 1)
    )
    assert "left to correct" in refused.err


def _simulate(one: Product, plans: Path, org: str) -> None:
    dearer = plans.with_name("dearer.toml")
    dearer.write_text(plans.read_text().replace(PRICE, PRICE.replace("29", "58")))
    done = one.admin("billing", "simulate", "--price-book", str(dearer), "--last", "3", "--json")
    assert done.code == 0, done.err
    [found] = [s for s in json.loads(done.out) if s["org"] == org]
    document = one.api("/v1/invoices/INV-000001").json()["document"]
    subscription = sum(
        line["amount_nano"] for line in document["lines"] if line.get("meter") == "subscription"
    )
    assert subscription > 0
    assert abs(found["difference"] - subscription) <= 1  # each is rounded by itself


def test_without_stripe_an_invoice_is_paid_by_hand() -> None:
    with product() as one:
        assert run(one).code == 0
        refused = one.run("billing", "upgrade", "pro", "--json")
        assert (refused.code, refused.json["error"]["code"]) == (2, "payments_not_configured")
        assert one.admin("billing", "close", "--now").code == 0
        [invoice] = one.ok("billing", "invoices", "--json").json
        if invoice["total"]:
            assert invoice["state"] == "open"
            assert one.admin("billing", "paid", invoice["number"], "--reference", "bank-1").code == 0
        assert one.ok("billing", "invoices", "--json").json[0]["state"] == "paid"
        assert one.admin("billing", "rederive", invoice["id"]).code == 0
        by_day = one.ok("usage", "--by", "day", "--json").json
        assert sum(group["quantities"].get("executions", 0) for group in by_day["groups"]) == 1


def test_a_webhook_that_is_not_signed_is_refused_and_leaves_no_event() -> None:
    environment = {"RCLAUDE_BILLING_STRIPE_KEY": KEY, "RCLAUDE_BILLING_STRIPE_WEBHOOK_SECRET": SECRET}
    with product(environment) as one, one.client() as client:
        forged = {"Stripe-Signature": signature(b"{}", "whsec_another")}
        answer = client.post("/v1/billing/webhooks/stripe", content=b"{}", headers=forged)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_signature")
        assert one.events("--type", "WebhookReceived") == []
