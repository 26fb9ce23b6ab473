"""A real Chromium, driven by Playwright, and what it takes to have one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from dashboard_build import WEB, npm

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page

WANTED = "RCLAUDE_BROWSER_TESTS"
"""Set where the browser's tests have to run: what they need and is not there is then an error."""
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip


def chromium() -> str | None:
    """The browser's program."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def missing() -> Sequence[str]:
    """What the tests in a browser need and this machine lacks."""
    found = {
        "Chromium (Debian's package `chromium`)": chromium(),
        "the Python package `playwright` (`make browser`)": find_spec("playwright"),
        "the Python package `axe-playwright-python` (`make browser`)": find_spec("axe_playwright_python"),
        "npm (`make browser`)": npm(),
        "the page's packages (`make browser`)": (WEB / "node_modules/vite").is_dir(),
    }
    return [name for name, there in found.items() if not there]


def wanted() -> bool:
    return bool(os.environ.get(WANTED))


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """One browser; its contexts share nothing."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        yield browser
        browser.close()


class Complaints(list[str]):
    """What a page's console and scripts complain about. What the network does is not the page's fault."""

    def listen(self, page: Page) -> None:
        """Collect from here on."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on("dialog", self._dialog)

    def _dialog(self, dialog: Dialog) -> None:
        self.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _console(self, message: ConsoleMessage) -> None:
        network = ("Failed to load resource", "WebSocket connection to")
        if message.type in ("error", "warning") and not message.text.startswith(network):
            self.append(message.text)
