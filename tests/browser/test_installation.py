"""The operator's pages in a real browser: organisations, prices, parked events; and an organisation that comes back."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from product import Product

pytestmark = pytest.mark.timeout(120)
Opens = Callable[..., Page]


def test_an_operator_suspends_an_organisation_and_changes_its_plan(stack: Product, opened: Opens) -> None:
    org = stack.admin("org", "create", "Noisy <i>").out.split()[0]
    page = opened("/installation/organisations")
    page.get_by_role("searchbox", name="Search organisations").fill(org)
    row = page.get_by_role("row").filter(has_text=org)
    expect(row).to_contain_text("Noisy <i>")
    page.get_by_role("button", name="Suspend Noisy <i>").click()
    expect(page.get_by_role("button", name="Suspend it")).to_be_disabled()
    page.get_by_role("textbox", name="Reason").fill("unpaid since May")
    page.get_by_role("button", name="Suspend it").click()
    expect(row).to_contain_text("suspended: unpaid since May")
    page.get_by_role("button", name="Resume Noisy <i>").click()
    expect(row).not_to_contain_text("suspended")
    plan = page.get_by_role("combobox", name="Plan of Noisy <i>")
    expect(plan).to_have_value("free")
    plan.select_option("pro")
    expect(page.get_by_text("The plan is Pro")).to_be_visible()


def test_prices_are_simulated_and_refused(stack: Product, opened: Opens) -> None:
    stack.ended(stack.submit("true"))
    page = opened("/installation/prices")
    page.get_by_role("textbox", name="Price file").fill("catalog = 7")
    page.get_by_role("button", name="Simulate").click()
    expect(page.get_by_role("alert")).to_contain_text("catalog: a version in quotes is needed")
    text = files("remote_claude.billing.domain").joinpath("plans.toml").read_text(encoding="utf-8")
    page.get_by_role("textbox", name="Price file").fill(text)
    page.get_by_role("button", name="Simulate").click()
    expect(page.get_by_role("region", name="Simulated periods").get_by_role("row")).not_to_have_count(0)
    assert Axe().run(page).generate_report().startswith("Found 0")


def test_what_is_parked_and_what_adds_up(opened: Opens) -> None:
    page = opened("/installation/parked")
    expect(page.get_by_text("Nothing is parked")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="all that was metered is charged")).to_be_visible()
    assert Axe().run(page).generate_report().startswith("Found 0")


def test_a_ticket_is_opened_answered_by_the_operator_and_closed(stack: Product, opened: Opens) -> None:
    page = opened("/settings/support")
    page.get_by_role("textbox", name="Title").fill("Why?")
    page.get_by_role("textbox", name="What happened").fill("No plan.")
    page.get_by_role("button", name="Open the ticket").click()
    expect(page.get_by_role("alert")).to_contain_text("has no tickets")
    org = stack.api("/v1/session").json()["org"]
    assert stack.admin("plan", "set", org, "self-hosted").code == 0
    page.get_by_role("textbox", name="Title").fill("Tasks <b>stay</b> queued")
    page.get_by_role("textbox", name="What happened").fill("Since noon.\nNone starts.")
    page.get_by_role("button", name="Open the ticket").click()
    expect(page.get_by_text("waits for an answer")).to_be_visible()
    page.goto("/installation/support")
    page.get_by_role("link", name="Tasks <b>stay</b> queued").click()
    page.get_by_role("textbox", name="Answer").fill("The runner was full.")
    page.get_by_role("button", name="Send the answer").click()
    messages = page.get_by_role("list", name="Messages").get_by_role("listitem")
    expect(messages).to_have_count(2)
    assert Axe().run(page).generate_report().startswith("Found 0")
    page.goto("/settings/support")
    expect(page.get_by_role("list", name="Tickets")).to_contain_text("answered")
    page.get_by_role("link", name="Tasks <b>stay</b> queued").click()
    expect(messages.nth(1)).to_contain_text("The operator")
    expect(messages.nth(1)).to_contain_text("The runner was full.")
    page.get_by_role("textbox", name="Answer").fill("Now they run.")
    page.get_by_role("button", name="Send the answer").click()
    expect(messages).to_have_count(3)
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Close the ticket").click()
    expect(page.get_by_text("The ticket is closed")).to_be_visible()
    page.goto("/installation/support")
    expect(page.get_by_text("No open tickets")).to_be_visible()
    page.get_by_role("button", name="Closed").click()
    expect(page.get_by_role("link", name="Tasks <b>stay</b> queued")).to_be_visible()


def test_an_owner_brings_a_deleted_organisation_back(opened: Opens) -> None:
    page = opened("/settings/organisation")
    page.get_by_role("region", name="New organisation").get_by_role("textbox", name="Name").fill("Phoenix")
    page.get_by_role("button", name="Create and switch to it").click()
    expect(page.get_by_role("heading", name="Run your first task")).to_be_visible()
    page.goto("/settings/organisation")
    page.get_by_role("button", name="Delete the organisation").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete the organisation").click()
    page.wait_for_url("/")
    page.goto("/settings/organisation")
    page.get_by_role("button", name="Bring Phoenix back").click()
    expect(page.get_by_role("heading", name="Run your first task")).to_be_visible()
    page.goto("/settings/organisation")
    expect(page.get_by_role("list", name="Deleted organisations")).to_have_count(0)
