"""Settings in a real browser: webhooks with their deliveries, schedules, the export of an account."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from product import Product
from receiver import receiving

pytestmark = pytest.mark.timeout(120)
Opens = Callable[..., Page]


def test_a_webhook_is_added_its_deliveries_seen_and_it_is_removed(stack: Product, opened: Opens) -> None:
    with receiving() as receiver:
        _manage_a_webhook(stack, opened("/settings/webhooks"), receiver.url)


def _manage_a_webhook(stack: Product, page: Page, url: str) -> None:
    page.get_by_role("textbox", name="New webhook").fill(url)
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("[data-secret]")).to_have_text(re.compile("^whsec_"))
    task = stack.submit("true")
    stack.ended(task)
    page.get_by_role("button", name=re.compile("^http:..127")).click()
    delivery = page.get_by_role("list", name="Deliveries").get_by_role("listitem")
    expect(delivery).to_contain_text("delivered")
    delivery.get_by_role("button", name=f"Post the end of {task} again").click()
    expect(delivery).to_have_count(2)
    delivery.first.get_by_role("link", name=task).click()
    expect(page.get_by_role("status", name="State")).to_have_text("Succeeded")
    page.go_back()
    page.get_by_role("button", name=f"Remove {url}").click()
    page.get_by_role("button", name="Remove the webhook").click()
    expect(page.get_by_text("No webhooks")).to_be_visible()


def test_a_schedule_is_made_and_removed(opened: Opens) -> None:
    page = opened("/settings/schedules")
    page.get_by_role("combobox", name="Agent").select_option("shell")
    page.get_by_role("textbox", name="Command").fill("echo <nightly>")
    page.get_by_role("combobox", name=re.compile("^When")).fill("0 99 * * *")
    page.get_by_role("button", name="Create the schedule").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_role("combobox", name=re.compile("^When")).fill("0 3 * * *")
    page.get_by_role("textbox", name="Time zone").fill("Europe/Berlin")
    page.get_by_role("button", name="Create the schedule").click()
    expect(page.get_by_role("list", name="Schedules")).to_contain_text("0 3 * * * Europe/Berlin")
    page.get_by_role("button", name="Remove the schedule echo <nightly>").click()
    page.get_by_role("button", name="Remove the schedule", exact=True).click()
    expect(page.get_by_text("No schedules")).to_be_visible()


def test_what_is_known_of_a_person_is_downloaded(stack: Product, opened: Opens, tmp_path: Path) -> None:
    task = stack.submit("echo kept")
    stack.ended(task)
    page = opened("/settings")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download your data").click()
    download.value.save_as(tmp_path / "account.zip")
    me = page.evaluate("fetch('/v1/me').then(answer => answer.json())")
    with zipfile.ZipFile(tmp_path / "account.zip") as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("profile.json"))["user"] == me["user"]
        [org, *_] = [one["id"] for one in json.loads(archive.read("organisations.json")) if one["personal"]]
        tasks = [json.loads(line) for line in archive.read(f"{org}/tasks.jsonl").splitlines()]
        assert task in [one["id"] for one in tasks]
        assert b"kept" in archive.read(f"{org}/tasks/{task}/output.jsonl")
        assert b"TaskSucceeded" in archive.read(f"{org}/tasks/{task}/events.jsonl")
    page.get_by_role("button", name="Delete the account").click()
    expect(page.get_by_role("button", name="Delete the account").last).to_be_disabled()
