"""The dashboard in a real browser on the real stack: from the link that signs in to the bill, and what goes wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from product import Product, repository
from servers import until

pytestmark = pytest.mark.timeout(120)
Opens = Callable[..., Page]
SECONDS_30 = 30_000


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return repository(tmp_path / "repo", {"calc.py": "def add(a, b):\n    return a - b\n"})


def test_without_a_session_the_page_says_how_to_sign_in(stack: Product, opened: Opens) -> None:
    page = opened()
    page.context.clear_cookies()
    page.goto("/usage")
    expect(page.get_by_role("heading", name="Sign in to Remote Claude")).to_be_visible()
    expect(page.get_by_text("rclaude open")).to_be_visible()


def test_a_link_that_has_been_used_says_what_to_do(stack: Product, opened: Opens) -> None:
    page = opened()
    with stack.client() as client:
        link = client.post("/v1/session/links").json()["url"]
    page.goto(link)
    answer = page.goto(link)
    assert answer is not None
    assert answer.status == httpx2.codes.GONE
    expect(page.get_by_role("heading", name="This link has been used")).to_be_visible()
    expect(page.get_by_text("rclaude open")).to_be_visible()
    page.goto("/nowhere")
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()
    page.get_by_role("link", name="Open the dashboard").click()
    expect(page.get_by_role("link", name="New task").first).to_be_visible()


def test_a_task_is_submitted_watched_and_its_bill_explained(stack: Product, opened: Opens) -> None:
    page = opened("/new")
    page.get_by_role("combobox", name="Agent").select_option("shell")
    page.get_by_role("textbox", name="Command").fill("for n in 1 2 3; do echo step $n; sleep 0.2; done")
    expect(page.get_by_text("rclaude run --agent shell --no-repo 'for n in")).to_be_visible()
    page.get_by_role("button", name="Run it").click()
    expect(page.get_by_role("log")).to_contain_text("step 3")
    expect(page.get_by_role("status", name="State")).to_have_text("Succeeded", timeout=SECONDS_30)

    page.get_by_role("link", name="Timeline").click()
    expect(page.get_by_role("heading", name="Task succeeded")).to_be_visible()

    page.get_by_role("navigation", name="Task").get_by_role("link", name="Cost").click()
    task = page.url.split("/")[-2]
    page.get_by_role("button", name=re.compile("Processor time")).click()
    events = [e for e in stack.api(f"/v1/tasks/{task}/bill").json()["events"] if e["meter"] == "vcpu_ms"]
    assert events
    for event in events:
        expect(page.get_by_role("cell", name=event["event_id"])).to_be_visible()

    page.get_by_role("link", name="Usage").first.click()
    page.get_by_role("button", name=re.compile("^Executions")).click()
    expect(page.get_by_role("region", name="Events").get_by_text(f"…{task[-8:]}")).to_be_visible()


def test_a_key_is_made_shown_once_used_and_revoked(stack: Product, opened: Opens) -> None:
    page = opened("/settings/keys")
    page.get_by_role("textbox", name="Name").fill("for CI <b>")
    page.get_by_role("button", name="Make the key").click()
    secret = page.locator("[data-secret]").inner_text()
    headers = {"Authorization": f"Bearer {secret}"}
    assert httpx2.get(f"{stack.stack_file()['url']}/v1/tasks", headers=headers).status_code == 200
    page.reload()
    expect(page.get_by_text("for CI <b>", exact=True)).to_be_visible()
    assert secret not in page.content()
    page.get_by_role("button", name="Revoke for CI").click()
    page.get_by_role("button", name="Revoke the key").click()
    expect(page.get_by_text("for CI <b>", exact=True)).to_have_count(0)
    assert httpx2.get(f"{stack.stack_file()['url']}/v1/tasks", headers=headers).status_code == 401


def test_a_session_is_ended_from_another_and_a_refusal_is_shown(stack: Product, opened: Opens) -> None:
    first, page = opened("/usage"), opened("/settings/sessions")
    expect(first.get_by_role("heading", name="Usage and bill")).to_be_visible()
    ends = page.get_by_role("button", name=re.compile("^End the session"))
    expect(ends.first).to_be_visible()
    while ends.count():
        with page.expect_response(re.compile("/v1/sessions/")):
            ends.first.click()
        expect(page.get_by_text("The session is ended.").last).to_be_visible()
    expect(first.get_by_role("heading", name="Sign in to Remote Claude")).to_be_visible()
    page.get_by_role("link", name="Members").click()
    page.get_by_role("button", name="Invite").click()
    expect(page.get_by_role("alert")).to_contain_text("A personal organisation has one member")


def test_a_list_shows_what_others_do_and_finds_tasks_again(stack: Product, opened: Opens) -> None:
    page, other = opened(), opened("/new")
    other.get_by_role("combobox", name="Agent").select_option("noop")
    other.get_by_role("textbox", name="Prompt").fill("Rename the Flibbertigibbet")
    other.get_by_role("button", name="Run it").click()
    expect(page.get_by_role("link", name="Rename the Flibbertigibbet")).to_be_visible()
    page.get_by_role("searchbox", name="Search tasks").fill("no such words")
    expect(page.get_by_text("No task matches")).to_be_visible()
    page.get_by_role("searchbox", name="Search tasks").fill("flibberti")
    expect(page.get_by_role("list", name="Tasks").get_by_role("listitem")).to_have_count(1)
    page.get_by_role("link", name="Active").click()
    expect(page.get_by_text("No task matches")).to_be_visible()


@pytest.mark.timeout(180)
def test_a_conversation_with_folded_tools_and_its_diff(stack: Product, opened: Opens, repo: Path) -> None:
    task = stack.ok("run", "--detach", "--json", "correct add()", cwd=repo).json["id"]
    page = opened(f"/tasks/{task}")
    expect(page.get_by_role("status", name="State")).to_have_text("Succeeded", timeout=90_000)
    log = page.get_by_role("log")
    expect(log.get_by_text("correct add()")).to_be_visible()
    expect(log.locator("strong", has_text="addition")).to_be_visible()
    assert log.locator("img, a[href^=javascript]").count() == 0
    tool = log.get_by_role("button", name=re.compile("^Bash"))
    expect(tool).to_have_attribute("aria-expanded", "false")
    tool.click()
    expect(log.get_by_text("result", exact=True)).to_be_visible()
    page.get_by_role("navigation", name="Task").get_by_role("link", name="Changes").click()
    changes = page.get_by_role("region", name="Changes")
    expect(changes.get_by_role("button", name=re.compile("^calc.py"))).to_be_visible()
    expect(changes.get_by_text("return a + b")).to_be_visible()
    expect(page.get_by_text(f"rclaude apply {task}")).to_be_visible()
    changes.get_by_role("button", name="Comment on line 2 of calc.py").last.click()
    changes.get_by_role("textbox", name="Comment on line 2 of calc.py").fill("Name it `plus`.")
    page.get_by_role("button", name="Send as a follow-up").click()
    expect(page).not_to_have_url(re.compile(task))
    asked = page.get_by_role("log").get_by_text("Change this about your result:")
    expect(asked).to_contain_text("calc.py, line 2:\n>     return a + b\nName it `plus`.")
    follow_up = stack.task(page.url.rsplit("/", 1)[-1])
    assert follow_up["prompt"].endswith("Name it `plus`.")


def test_a_task_that_has_ended_goes_on_with_its_files(stack: Product, opened: Opens, repo: Path) -> None:
    task = stack.ok("run", "--detach", "--json", "--agent", "shell", "echo kept > f.txt", cwd=repo).json["id"]
    stack.ended(task)
    page = opened(f"/tasks/{task}")
    page.get_by_role("textbox", name="Follow-up").fill("cat f.txt calc.py")
    page.get_by_role("button", name="Go on with the task").click()
    expect(page.get_by_role("log").get_by_text("kept", exact=True)).to_be_visible(timeout=SECONDS_30)
    expect(page.get_by_role("status", name="State")).to_have_text("Succeeded", timeout=SECONDS_30)


def test_a_link_fills_in_a_task_that_names_a_secret(stack: Product, opened: Opens) -> None:
    page = opened("/settings/secrets")
    page.get_by_role("textbox", name="Name").fill("npm_token")
    page.get_by_label("Value").fill("made-up-value")
    page.get_by_role("textbox", name="Hosts").fill("registry.example.com")
    page.get_by_role("button", name="Store the secret").click()
    expect(page.get_by_role("list", name="Secrets").get_by_text("NPM_TOKEN")).to_be_visible()
    assert "made-up-value" not in page.content()
    page.goto("/new?agent=shell&prompt=env&secrets=NPM_TOKEN,OTHER&provider=local&labels=team=core&minutes=5")
    expect(page.get_by_role("checkbox", name="NPM_TOKEN")).to_be_checked()
    expect(page.get_by_text("not stored")).to_be_visible()
    command = "rclaude run --agent shell --no-repo --secret NPM_TOKEN --secret OTHER --label team=core --provider local --timeout 300 env"
    expect(page.get_by_text(command)).to_be_visible()
    page.get_by_role("checkbox", name="OTHER").click()
    page.get_by_role("button", name="Run it").click()
    expect(page.get_by_role("status", name="State")).to_have_text("Succeeded", timeout=SECONDS_30)
    submitted = stack.api(f"/v1/tasks/{page.url.rsplit('/', 1)[-1]}/events").json()["events"][0]["data"]
    assert (submitted["secrets"], submitted["provider"], submitted["timeout_s"]) == (
        ["NPM_TOKEN"],
        "local",
        300,
    )


def test_hostile_output_is_text(stack: Product, opened: Opens) -> None:
    hostile = (
        "echo '<script>alert(1)</script><img src=x onerror=alert(1)>'; "
        r"printf '\033]0;title\007\033[2Jafter \033[31mred\033[0m \342\200\256gnp.exe\n'"
    )
    task = stack.submit(hostile, "--label", "<b>label</b>=<script>")
    stack.ended(task)
    page = opened(f"/tasks/{task}")
    log = page.get_by_role("log")
    expect(
        log.get_by_text("<script>alert(1)</script><img src=x onerror=alert(1)>", exact=True)
    ).to_be_visible()
    expect(log.get_by_text("red", exact=True)).to_be_visible()
    expect(log.get_by_text(re.compile(r"U\+202E.gnp\.exe"))).to_be_visible()
    expect(page.get_by_text("<b>label</b>: <script>").first).to_be_visible()
    assert "\x1b" not in log.inner_text()
    assert page.title() != "title"


def test_a_long_output_keeps_few_rows_in_the_page(stack: Product, opened: Opens) -> None:
    task = stack.submit("seq 1 50000")
    stack.ended(task)
    page = opened(f"/tasks/{task}")
    log = page.get_by_role("log")
    expect(log.get_by_text("1", exact=True)).to_be_visible()

    def at_end() -> bool:
        page.keyboard.press("End")
        return bool(log.get_by_text("50000", exact=True).is_visible())

    log.focus()
    until(at_end, "the last line", pause=0.1)
    assert log.locator("[data-index]").count() < 150


def test_the_keyboard_alone_runs_and_cancels_a_task(stack: Product, opened: Opens) -> None:
    page = opened()
    expect(page.get_by_role("link", name="New task").first).to_be_visible()
    page.keyboard.press("Control+k")
    page.keyboard.type("new ta")
    page.keyboard.press("Enter")
    expect(page.get_by_role("combobox", name="Agent")).to_be_visible()
    page.get_by_role("combobox", name="Agent").focus()
    page.keyboard.type("shell")
    page.keyboard.press("Shift+Tab")
    page.keyboard.type("sleep 300")
    page.keyboard.press("Control+Enter")
    state = page.get_by_role("status", name="State")
    expect(state).to_have_text("Running", timeout=SECONDS_30)
    page.keyboard.press("3")
    expect(page.get_by_role("heading", name="Task started")).to_be_visible()
    page.keyboard.press("1")
    for _ in range(30):
        if page.evaluate("document.activeElement?.ariaLabel") == "Cancel the task":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Cancel this task?")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(state).to_have_text("Cancelled", timeout=SECONDS_30)
    page.keyboard.press("g")
    page.keyboard.press("t")
    expect(page.get_by_role("link", name="sleep 300")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status", name="State")).to_have_text("Cancelled")


def test_services_that_are_killed_are_said_and_caught_up_with(stack: Product, opened: Opens) -> None:
    page = opened()
    task = stack.submit("for n in $(seq 1 150); do echo line $n.; sleep 0.05; done")
    page.goto(f"/tasks/{task}")
    log = page.get_by_role("log")
    expect(log.get_by_text("line 20.", exact=True)).to_be_visible(timeout=SECONDS_30)
    stack.kill("services")
    expect(page.get_by_text("The server does not answer.")).to_be_visible()
    expect(page.get_by_text("The server does not answer.")).to_have_count(0, timeout=SECONDS_30)
    expect(page.get_by_role("status", name="State")).to_have_text("Succeeded", timeout=60_000)
    rows: dict[int, str] = {}
    log.focus()
    page.keyboard.press("Home")

    def read_on() -> bool:
        seen = log.evaluate(
            "log => [...log.querySelectorAll('[data-index]')].map(e => [+e.dataset.index, e.innerText])"
        )
        rows.update(dict(seen))
        at_end = log.evaluate("log => log.scrollTop + log.clientHeight >= log.scrollHeight - 1")
        page.keyboard.press("Home" if at_end else "PageDown")  # again from the start: a slow page skips rows
        return sorted(rows) == list(range(len(rows))) and "line 150." in rows.values()

    until(read_on, "every row up to the last", 60, pause=0.05)
    shown = [text for _, text in sorted(rows.items()) if text.startswith("line ")]
    whole = [f"line {n}." for n in range(1, 151)]
    assert shown[-150:] == whole
    before = shown[:-150]  # of an attempt that was lost with the services, if it was
    assert before == whole[: len(before)]


PAGES = (
    "/", "/new", "/new?model=m&budget=2.50&labels=a=b", "/usage", "/usage/charts", "/usage/charts?by=label&of=executions",
    "/usage/invoices", "/usage/plan", "/usage/analytics", "/settings", "/settings/sessions", "/settings/organisation",
    "/settings/members", "/settings/keys", "/settings/service-accounts", "/settings/secrets", "/settings/models",
    "/settings/audit", "/settings/schedules", "/settings/webhooks", "/settings/teams", "/settings/support",
    "/batches", "/installation", "/installation/organisations", "/installation/support",
)  # fmt: skip


def test_axe_finds_nothing_in_light_and_dark(stack: Product, opened: Opens, repo: Path) -> None:
    task = stack.ok(
        "run",
        "--detach",
        "--json",
        "--agent",
        "shell",
        "--label",
        "a=b",
        "echo x > new.txt; ls -l 1>&2",
        cwd=repo,
    ).json["id"]
    stack.ended(task)
    page = opened(reduced_motion="reduce")
    axe = Axe()
    found: dict[str, str] = {}
    task_pages = tuple(f"/tasks/{task}{tab}" for tab in ("", "/changes", "/timeline", "/cost"))
    for path in (*PAGES, *task_pages):
        page.goto(path)
        expect(page.get_by_role("status", name="Loading")).to_have_count(0)
        expect(page.get_by_role("heading").first).to_be_visible()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            options: dict[str, object] = {"resultTypes": ["violations"]}
            if scheme == "dark":  # the page is the same but for its colours
                options["runOnly"] = {"type": "rule", "values": ["color-contrast"]}
            results = axe.run(page, options=options)
            if results.violations_count:
                found[f"{path} in {scheme}"] = results.generate_report()
    assert found == {}


def test_a_task_that_does_not_exist_is_said_so(opened: Opens) -> None:
    page = opened("/tasks/task_00000000000000000000000000")
    expect(page.get_by_text("There is no such task")).to_be_visible()
    page.goto("/settings/nowhere")
    expect(page.get_by_text("There is no such page")).to_be_visible()
