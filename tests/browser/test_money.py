"""From a line of an invoice down to its events, and a larger plan through Checkout, in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

import browsers
from product import Product, product
from servers import until
from stripe_double import KEY, SECRET, StripeDouble, stripe_double

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def shop() -> Iterator[tuple[Product, StripeDouble]]:
    """A stack that takes cards."""
    with stripe_double() as stripe:
        environment = {
            "RCLAUDE_BILLING_STRIPE_KEY": KEY,
            "RCLAUDE_BILLING_STRIPE_WEBHOOK_SECRET": SECRET,
            "RCLAUDE_BILLING_STRIPE_URL": stripe.url,
        }
        with product(environment) as one:
            stripe.webhooks = f"{one.stack_file()['url']}/v1/billing/webhooks/stripe"
            yield one, stripe


def test_an_invoice_is_explained_and_a_plan_is_bought(
    shop: tuple[Product, StripeDouble], browser: Browser
) -> None:
    stack, stripe = shop
    task = stack.submit("echo billed", "--label", "team=core")
    stack.ended(task)
    assert stack.admin("billing", "close", "--now").code == 0
    complaints = browsers.Complaints()
    page = browser.new_page(base_url=str(stack.stack_file()["url"]))
    complaints.listen(page)
    with stack.client() as client:
        page.goto(client.post("/v1/session/links").json()["url"])

    page.goto("/usage/invoices")
    page.get_by_role("link", name="INV-000001", exact=True).click()
    pdf = page.get_by_role("link", name="PDF").get_attribute("href")
    assert pdf is not None
    assert page.request.get(pdf).body().startswith(b"%PDF")
    page.get_by_role("button", name=re.compile("^Processor time")).click()
    explained = [
        event for n in range(1, 9) if (found := _line(stack, n)) and found["line"].get("meter") == "vcpu_ms"
        for event in found["events"]
    ]  # fmt: skip
    assert explained
    for event in explained:
        expect(page.get_by_role("cell", name=event["event_id"])).to_be_visible()
    page.get_by_role("region", name="Events").get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="echo billed")).to_be_visible()

    page.goto("/usage/charts?by=label&of=executions")
    row = page.get_by_role("list", name="Use by label").get_by_role("listitem").filter(has_text="team=core")
    row.get_by_role("button", name="Its tasks").click()
    expect(row.get_by_role("link", name="echo billed")).to_be_visible()
    page.goto("/usage/charts?of=executions")
    expect(page.get_by_role("button", name=re.compile(r": 1$"))).to_be_visible()

    page.goto("/usage/plan")
    page.get_by_role("button", name="Choose Pro").click()
    expect(page).to_have_url(re.compile(re.escape(stripe.url)))
    stripe.complete(page.url)
    page.goto("/usage/plan")
    chosen = page.get_by_role("list", name="Plans").locator("[aria-current]")

    def on_pro() -> bool:
        page.reload()
        return "Pro" in chosen.inner_text()

    until(on_pro, "the plan Pro")
    page.get_by_role("button", name="Open the customer portal").click()
    expect(page).to_have_url(re.compile(re.escape(stripe.url)))
    assert complaints == []


def _line(stack: Product, number: int) -> Any:
    with stack.client() as client:
        answer = client.get(f"/v1/invoices/INV-000001/lines/{number}")
    return answer.json() if answer.is_success else None
