"""Two people in two browsers: the border between organisations, and one organisation that both work in."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from product import Product
from servers import until

pytestmark = pytest.mark.timeout(180)
Opens = Callable[..., Page]


def test_two_people_are_apart_until_one_invites_the_other(stack: Product, opened: Opens) -> None:
    org, user = stack.admin("org", "create", "Grace").out.split()
    scopes = [
        part for name in ("tasks", "billing", "org", "account", "operations") for part in ("--scope", name)
    ]
    key = stack.admin("key", "issue", org, user, *scopes).out.split()[1]
    with stack.client() as client:
        by_key = {"Authorization": f"Bearer {key}"}
        until(lambda: client.get("/v1/session", headers=by_key).is_success, "Grace's key")
    ada, grace = opened("/settings/organisation"), opened("/settings/organisation", key=key)

    new = ada.get_by_role("region", name="New organisation")
    new.get_by_role("textbox", name="Name").fill("Team <b>")
    new.get_by_role("button", name="Create and switch to it").click()
    expect(ada.get_by_role("heading", name="Run your first task")).to_be_visible()
    team = str(ada.evaluate("sessionStorage.getItem('rclaude-org')"))
    assert stack.admin("plan", "set", team, "self-hosted").code == 0

    ada.goto("/new?agent=shell&prompt=echo+of+the+team")
    ada.get_by_role("button", name="Run it").click()
    expect(ada.get_by_role("status", name="State")).to_be_visible()
    expect(ada).to_have_url(re.compile(f"org={team}"))  # so that the link opens for others
    task = ada.url.split("?")[0].rsplit("/", 1)[-1]
    grace.goto(f"/tasks/{task}?org={team}")
    expect(grace.get_by_text("There is no such task")).to_be_visible()

    ada.goto("/settings/members")
    ada.get_by_role("combobox", name="Role", exact=True).select_option("member")
    ada.get_by_role("button", name="Invite", exact=True).click()
    first = ada.get_by_text(re.compile(r"/join\?token=")).inner_text()
    ada.get_by_role("button", name="Send again").click()
    link = ada.get_by_text(re.compile(r"/join\?token="))
    expect(link).not_to_have_text(first)
    grace.goto(first)
    grace.get_by_role("button", name="Accept the invitation").click()
    expect(grace.get_by_role("alert")).to_contain_text("invitation")
    grace.goto(link.inner_text())
    grace.get_by_role("button", name="Accept the invitation").click()
    expect(grace.get_by_role("heading", name="Settings")).to_be_visible()

    grace.goto("/settings/organisation")
    grace.get_by_role("button", name="Switch to Team <b>").click()
    expect(grace.get_by_role("link", name="echo of the team")).to_be_visible()
    expect(grace.get_by_role("link", name="Organisation Team <b>: switch")).to_be_visible()
    ada.goto("/new?agent=noop&prompt=Seen+by+both")
    ada.get_by_role("button", name="Run it").click()
    expect(grace.get_by_role("link", name="Seen by both")).to_be_visible()
    grace.goto("/settings/members")
    expect(grace.get_by_role("list", name="Members").get_by_role("listitem")).to_have_count(2)
    expect(grace.get_by_role("button", name="Invite", exact=True)).to_have_count(0)

    ada.goto("/settings/audit")
    expect(ada.get_by_text("Member joined").first).to_be_visible()
    ada.goto("/settings/members")
    ada.get_by_role("button", name=re.compile("^Remove ")).click()
    ada.get_by_role("button", name="Remove them").click()
    expect(ada.get_by_role("list", name="Members").get_by_role("listitem")).to_have_count(1)
    grace.goto("/")
    expect(grace.get_by_role("heading", name="Run your first task")).to_be_visible()
    expect(grace.get_by_role("link", name="Seen by both")).to_have_count(0)


def test_a_team_is_made_filled_and_given_labels_and_a_budget(stack: Product, opened: Opens) -> None:
    page = opened("/settings/teams")
    page.get_by_role("textbox", name="New team").fill("Website <b>")
    page.get_by_role("button", name="Create", exact=True).click()
    team = page.get_by_role("region", name="Website <b>")
    team.get_by_role("combobox", name="Add a member").select_option(index=1)
    team.get_by_role("button", name="Add", exact=True).click()
    expect(team.get_by_role("list", name="Members of").get_by_role("button")).to_have_count(1)
    team.get_by_role("textbox", name="Labels").fill("cost=4711 site=main")
    team.get_by_role("button", name="Set the labels").click()
    expect(page.get_by_text("The labels are set.")).to_be_visible()
    team.get_by_role("spinbutton", name="Budget").fill("12.5")
    team.get_by_role("button", name="Set the budget").click()
    expect(page.get_by_text("The budget is set.")).to_be_visible()

    [known] = stack.api("/v1/org/teams").json()["teams"]
    assert (known["labels"], known["budget_nano_usd"]) == ({"cost": "4711", "site": "main"}, 12_500_000_000)
    team.get_by_role("link", name="New key").click()
    expect(page.get_by_role("combobox", name="Of", exact=True)).to_have_value(known["id"])
    page.goto("/settings/teams")
    team.get_by_role("button", name="Delete Website").click()
    page.get_by_role("button", name="Delete the team").click()
    expect(page.get_by_text("No teams")).to_be_visible()
