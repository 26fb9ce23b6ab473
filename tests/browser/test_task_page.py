"""A task's terminal, and candidates side by side, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

import browsers
import messages_api
from messages_api import MessagesApi
from product import Product, repository

pytestmark = pytest.mark.timeout(120)
Opens = Callable[..., Page]


def test_a_terminal_opens_in_the_sandbox_of_a_task_that_runs(stack: Product, opened: Opens) -> None:
    page = opened(f"/tasks/{stack.submit('sleep 300')}")
    expect(page.get_by_role("status", name="State")).to_have_text("Running")
    page.get_by_role("link", name="Terminal").click()
    expect(page.locator(".xterm-rows")).to_contain_text("$")
    page.keyboard.type("printf '\\033[38;2;0;200;100mtrue\\033[0m '; echo $((6*7))\n")
    expect(page.locator(".xterm-rows")).to_contain_text("true 42")
    assert Axe().run(page).generate_report().startswith("Found 0")
    page.keyboard.type("exit 3\n")
    expect(page.get_by_text("The shell has ended with 3.")).to_be_visible()
    page.get_by_role("button", name="Cancel the task").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the task").click()
    expect(page.get_by_text("The sandbox is gone")).to_be_visible()


@pytest.mark.timeout(180)
def test_an_agent_asks_for_permissions_and_gets_its_answers(
    stack: Product, model: MessagesApi, opened: Opens, tmp_path: Path
) -> None:
    """What it wants is text, however hostile. One request is denied with a reason by the keyboard alone, one allowed."""
    hostile = "<img src=x onerror=alert(1)> \u202egnp.exe"
    wants = ({"file_path": "no.txt", "content": hostile}, {"file_path": "yes.txt", "content": "x\n"})
    model.play(*([messages_api.tool("Write", **want)] for want in wants), [messages_api.text("Done.")])
    repo = repository(tmp_path / "repo", {"a.txt": "one\n"})
    task = stack.ok("run", "--detach", "--json", "--permission-mode", "ask", "write", cwd=repo).json["id"]
    page = opened("/")
    row = page.get_by_role("list", name="Tasks").get_by_role("listitem").filter(has_text="write")
    expect(row.get_by_text("waits for an answer")).to_be_visible(timeout=90_000)
    page.goto(f"/tasks/{task}")
    requests = page.get_by_role("region", name="Permission requests")
    expect(requests).to_contain_text("may it use Write?")
    expect(
        requests.get_by_text(re.compile(r"<img src=x onerror=alert\(1\)> .U\+202E.gnp\.exe"))
    ).to_be_visible()
    expect(page.get_by_role("status", name="State")).to_have_text("Waits for an answer")
    assert Axe().run(page).generate_report().startswith("Found 0")
    requests.get_by_role("button", name="Deny").press("Enter")
    page.keyboard.type("leave that file alone")
    page.keyboard.press("Enter")
    expect(requests).to_contain_text("yes.txt")
    assert "leave that file alone" in str(model.requests[-1]["body"])
    requests.get_by_role("button", name="Allow once").click()
    expect(page.get_by_role("status", name="State")).to_have_text("Succeeded")
    expect(requests).to_be_hidden()
    log = page.get_by_role("log")
    expect(log.get_by_text("denied", exact=True)).to_be_visible()
    expect(log.get_by_text("allowed once")).to_be_visible()
    kept = page.context.request.get(f"/v1/tasks/{task}/diff").text()
    assert "yes.txt" in kept
    assert "no.txt" not in kept
    page.goto(f"/new?continues={task}")
    expect(page.get_by_role("combobox", name="May do without asking")).to_have_value("ask")


def test_candidates_are_compared(stack: Product, opened: Opens, tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo", {"a.txt": "one\n"})
    for number, text in ((1, "two\\nthree"), (2, "two")):
        labels = ("--label", "best-of=side-by-side", "--label", f"candidate={number}")
        done = stack.ok(
            "run", "--agent", "shell", "--detach", "--json", *labels, f"printf '{text}\\n' > a.txt", cwd=repo
        )
        stack.ended(done.json["id"])
    judge = ("--label", "best-of=side-by-side", "--label", "judge-of=1", "--label", "kind=verdict")
    stack.ended(stack.submit("true", *judge))
    page = opened("/?q=verdict")
    expect(page.get_by_role("list", name="Tasks").get_by_role("listitem")).to_have_count(1)
    page.goto("/")
    expect(page.get_by_role("link", name=re.compile("^printf")).first).to_be_visible()
    expect(page.get_by_text("judge-of")).to_have_count(0)  # it stands beside its candidate
    page.goto("/compare/side-by-side")
    candidates = page.get_by_role("list", name="Candidates").get_by_role("listitem")
    expect(candidates).to_have_count(2)
    expect(candidates.nth(0)).to_contain_text("best")
    expect(page.get_by_role("region", name="Change of candidate 1")).to_contain_text("three")
    expect(page.get_by_role("region", name="Change of candidate 2")).not_to_contain_text("three")
    assert Axe().run(page).generate_report().startswith("Found 0")
    page.get_by_role("link", name="Candidate 2").click()
    expect(page.get_by_role("link", name="Compare the candidates")).to_be_visible()


def test_a_batch_is_watched_and_cancelled(stack: Product, opened: Opens) -> None:
    page = opened("/batches")
    expect(page.get_by_text("No batches yet")).to_be_visible()
    items = [{"key": "fast <i>", "prompt": "true"}, {"key": "slow", "prompt": "sleep 300"}]
    with stack.client() as client:
        body = {"name": "Weekly", "task": {"agent": "shell"}, "items": items}
        assert client.post("/v1/batches", json=body).is_success
    page.get_by_role("link", name="Weekly").click()
    rows = page.get_by_role("list", name="Items").get_by_role("listitem")
    expect(rows.nth(0)).to_contain_text("Succeeded")
    expect(rows.nth(0)).to_contain_text("$0.")
    expect(rows.nth(1)).to_contain_text("Running")
    assert Axe().run(page).generate_report().startswith("Found 0")
    page.get_by_role("button", name="Cancel the batch").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the batch").click()
    expect(page.get_by_role("status", name="State")).to_have_text("Cancelled")
    expect(rows.nth(1)).to_contain_text("Cancelled")
    page.get_by_role("link", name="All batches").click()
    expect(page.get_by_role("note", name="States of Weekly")).to_have_text("1 succeeded · 1 not succeeded")
    page.get_by_role("link", name="Weekly").click()
    page.get_by_role("link", name="fast <i>").click()
    expect(page.get_by_role("heading", name="true")).to_be_visible()


def test_a_link_for_reading_opens_for_anyone_until_it_is_revoked(
    stack: Product, opened: Opens, browser: Browser, tmp_path: Path
) -> None:
    repo = repository(tmp_path / "repo", {"a.txt": "one\n"})
    command = "echo to be seen; echo two > a.txt"
    task = stack.ok("run", "--agent", "shell", "--detach", "--json", command, cwd=repo).json["id"]
    stack.ended(task)
    page = opened(f"/tasks/{task}")
    page.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Share for reading").click()
    page.get_by_role("button", name="Make a link for 7 days").click()
    link = page.get_by_role("textbox", name="The link, shown this once").input_value()

    anyone = browser.new_page()
    complaints = browsers.Complaints()
    complaints.listen(anyone)
    anyone.goto(link)
    expect(anyone.get_by_role("heading", name=command)).to_be_visible()
    expect(anyone.get_by_role("log")).to_contain_text("to be seen")
    assert Axe().run(anyone).generate_report().startswith("Found 0")
    anyone.get_by_role("tab", name="Changes").click()
    expect(anyone.get_by_role("region", name="Changes")).to_contain_text("two")
    assert anyone.get_by_role("button", name="Comment on").count() == 0
    assert complaints == []

    page.get_by_role("list", name="Links").get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("list", name="Links").get_by_role("listitem")).to_have_count(0)
    anyone.reload()
    expect(anyone.get_by_text("This link opens no task")).to_be_visible()
    anyone.close()
