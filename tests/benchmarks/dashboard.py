"""The dashboard in a real Chromium: first load, Lighthouse, and scrolling through much of it.

One embedded stack with 10,000 finished tasks and one task of 50,000 lines. First load is the script that a fresh browser
fetches for a task's page, compressed as it is sent. Lighthouse audits that page as a desktop's, with its own browser. The
list and the output are scrolled from end to end, a screen at a time: rows in the page and the longest script task are
the largest seen, memory is the script's heap after it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import uvloop
from noop_tasks import load_on
from readings import Reading, at_least, at_most

import browsers
from dashboard_build import npm
from product import Product, product

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

TASKS = int(os.environ.get("BENCH_TASKS", "10000"))
LINES, SCREENS = 50_000, 200
SCRIPT_KB, ROWS, TASK_MS, HEAP_MB = 150.0, 500.0, 50.0, 200.0
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")
SCORE = 0.95
LIGHTHOUSE = "lighthouse@12.8.2"
LONG_TASKS = """() => {
  window.longest = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
  }).observe({ entryTypes: ["longtask"] });
}"""


def measure() -> Iterator[Reading]:
    """First load, Lighthouse's categories, then the two long lists."""
    with product({"RCLAUDE_RUNNER_SLOTS": "64"}) as stack:
        uvloop.run(fill(stack))
        task = stack.submit(f"seq 1 {LINES}")
        stack.ended(task)
        with browsers.running_chromium() as browser:  # whose own event loop runs from here on
            yield from readings_of(stack, browser, task)


def readings_of(stack: Product, browser: Browser, task: str) -> Iterator[Reading]:
    """In order."""
    size = script_of_first_load(stack, browser, task)
    yield at_most(figure=15, what="script of the first load", value=size / 1024, limit=SCRIPT_KB, unit="KB")
    for category, score in lighthouse(stack, browser, task).items():
        what = f"Lighthouse on a task's page: {category}"
        yield at_least(1, figure=15, what=what, value=score, limit=SCORE, unit="")
    for what, path, role in (
        (f"a list of {TASKS:,} tasks", "/", "list"),
        (f"{LINES:,} lines of output", f"/tasks/{task}", "log"),
    ):
        yield from scrolled(stack, browser, what, path, role)


async def fill(stack: Product) -> None:
    """So many tasks that have ended."""
    async with load_on(stack) as load:
        await load.run(TASKS, 64)


def signed_in(stack: Product, browser: Browser) -> Page:
    """A page of a fresh browser."""
    page = browser.new_context(base_url=str(stack.stack_file()["url"])).new_page()
    with stack.client() as client:
        page.goto(client.post("/v1/session/links").json()["url"])
    return page


def script_of_first_load(stack: Product, browser: Browser, task: str) -> int:
    """Bytes of script, as sent, until the page has its output."""
    page = signed_in(stack, browser)
    cookies = page.context.cookies()
    fresh = browser.new_context(base_url=str(stack.stack_file()["url"]))
    fresh.add_cookies(cookies)
    page = fresh.new_page()
    sizes: list[int] = []

    def measured(request: Request) -> None:
        if request.resource_type == "script":
            sizes.append(request.sizes()["responseBodySize"])

    page.on("requestfinished", measured)
    page.goto(f"/tasks/{task}")
    page.get_by_role("log").get_by_text("1", exact=True).first.wait_for()
    page.wait_for_load_state("networkidle")
    return sum(sizes)


def lighthouse(stack: Product, browser: Browser, task: str) -> dict[str, float]:
    """The score of each category, from 0 to 1."""
    url = str(stack.stack_file()["url"])
    page = signed_in(stack, browser)
    cookie = "; ".join(f"{one['name']}={one['value']}" for one in page.context.cookies())
    program = npm()
    assert program is not None, "npm is missing: make browser"
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        headers = Path(folder) / "headers.json"
        headers.write_text(json.dumps({"Cookie": cookie}))
        subprocess.run(
            [
                *(str(Path(program).with_name("npx")), "--yes", LIGHTHOUSE, f"{url}/tasks/{task}", "--quiet"),
                *("--preset=desktop", "--output=json", f"--output-path={report}"),
                *(f"--extra-headers={headers}", f"--only-categories={','.join(CATEGORIES)}"),
                f"--chrome-flags=--headless=new {' '.join(browsers.ARGUMENTS)}",
            ],
            check=True,
            env=os.environ | {"CHROME_PATH": browsers.chromium() or "", "PATH": path_with(program)},
            timeout=300,
        )
        found: dict[str, Any] = json.loads(report.read_text())["categories"]
    return {name: float(found[name]["score"]) for name in CATEGORIES}


def path_with(program: str) -> str:
    """The search path on which npm's own Node is found."""
    return f"{Path(program).parent}:{os.environ['PATH']}"


def scrolled(stack: Product, browser: Browser, what: str, path: str, role: Any) -> Iterator[Reading]:
    """From end to end of a long list."""
    page = signed_in(stack, browser)
    page.goto(path)
    box = page.get_by_role(role).first
    box.wait_for()
    page.wait_for_load_state("networkidle")
    page.evaluate(LONG_TASKS)
    box.hover()
    rows = 0
    for _ in range(SCREENS):
        page.mouse.wheel(0, 2_000)
        page.wait_for_function("() => new Promise((done) => requestAnimationFrame(() => done(true)))")
        rows = max(rows, int(page.evaluate("document.querySelectorAll('[data-index], li').length")))
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    heap = float(page.evaluate("performance.memory.usedJSHeapSize")) / 2**20
    longest = float(page.evaluate("window.longest"))
    for measured, value, limit, unit in (
        ("rows in the page", float(rows), ROWS, ""),
        ("longest script task", longest, TASK_MS, "ms"),
        ("heap", heap, HEAP_MB, "MiB"),
    ):
        yield at_most(figure=15, what=f"{what}: {measured}", value=value, limit=limit, unit=unit)


if __name__ == "__main__":
    for measured in measure():
        print(f"{measured.what}: {measured.value:.2f} {measured.unit} {'met' if measured.met else 'MISSED'}")
