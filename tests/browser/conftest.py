"""One stack with a model for the tests in a browser, and pages that are signed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

import browsers
from messages_api import MessagesApi, serving_in_a_thread, text, thinking, tool
from product import Product, product

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

PATIENCE_MS = 60_000
"""How long a page is waited for: a bound for a busy machine, no expectation."""
KEY = "sk-ant-made-up-for-this-test"
TURNS = (
    [
        thinking("The sign is wrong."),
        text("I'll correct the **addition**. <img src=x onerror=alert(1)> [a link](javascript:alert(1))"),
        tool("Write", file_path="/workspace/calc.py", content="def add(a, b):\n    return a + b\n"),
    ],
    [tool("Bash", command="python3 -c 'from calc import add; print(add(2, 3))'", description="try it")],
    [text("Done: `add` adds.\n\n- one\n- two")],
)

if lacking := browsers.missing():
    if browsers.wanted():
        raise pytest.UsageError(f"{browsers.WANTED} is set, and this is missing: {', '.join(lacking)}")
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def messages_api() -> Iterator[MessagesApi]:
    with serving_in_a_thread(*TURNS) as api:
        yield api


@pytest.fixture(scope="session")
def stack(messages_api: MessagesApi) -> Iterator[Product]:
    """With the real Claude Code against a local Messages API."""
    allowed = {"RCLAUDE_OUTBOUND_ALLOW": "127.0.0.0/8"}
    with product({"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": messages_api.base_url, **allowed}) as one:
        yield one


@pytest.fixture
def model(messages_api: MessagesApi) -> Iterator[MessagesApi]:
    """For a test with turns of its own; later tests get `TURNS` again."""
    yield messages_api
    messages_api.play(*TURNS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE_MS)
    with browsers.running_chromium() as one:
        yield one


Opens = Callable[..., "Page"]


@pytest.fixture
def opened(stack: Product, browser: Browser) -> Iterator[Opens]:
    """Opens a page as the owner, or as whom the API key `key` is of; at the end no page may have complained.

    Options are those of a browser context.
    """
    contexts: list[BrowserContext] = []
    complaints = browsers.Complaints()

    def open_page(path: str = "/", key: str | None = None, **options: object) -> Page:
        context = browser.new_context(base_url=str(stack.stack_file()["url"]), **options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        complaints.listen(page)
        with stack.client() as client:
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            link = client.post("/v1/session/links", headers=headers).json()["url"]
        page.goto(link)
        if path != "/":
            page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
