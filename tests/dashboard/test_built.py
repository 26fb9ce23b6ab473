"""The page that is committed: that of its sources, small, and of nowhere else."""

import json
import re

from dashboard_build import (
    ROOT,
    STATIC,
    WEB,
    files,
    first_scripts,
    hash_of_sources,
    page_scripts,
    recorded_hash,
)
from remote_claude.gateway.dashboard.pages import PLACES

MOST_BYTES = 2_000_000
FIRST_LOAD_BYTES = 150_000


def test_the_committed_page_is_that_of_its_sources() -> None:
    assert recorded_hash() == hash_of_sources(), (
        "`make dashboard` builds it, and the result is committed with it"
    )


def test_the_page_is_small_and_its_first_scripts_smaller() -> None:
    assert sum(len(content) for content in files().values()) < MOST_BYTES
    first = first_scripts()
    assert first
    for page in ("Tasks", "task"):
        scripts = {*first, *page_scripts(page)}
        assert len(scripts) > len(first)
        size = sum(path.with_name(path.name + ".gz").stat().st_size for path in scripts)
        assert size < FIRST_LOAD_BYTES, page


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    page = (STATIC / "index.html").read_text()
    assert re.findall(r"<script(?![^>]* src=)", page) == []
    assert "<style" not in page
    assert re.findall(r"\sstyle=|\son\w+=", page) == []
    assert re.findall(r'(?:src|href)="(?!/)[^"]*"', page) == []


def test_every_file_in_assets_has_a_hash_in_its_name() -> None:
    names = [name for name in files() if name.startswith("assets/")]
    assert names
    assert all(re.fullmatch(r"assets/[\w-]+-[\w-]{8}\.(js|css)(\.br|\.gz)?", name) for name in names)


def test_every_address_of_the_page_is_answered_with_the_page() -> None:
    routes = re.findall(r'path: "/([\w-]*)', (WEB / "src/router.tsx").read_text())
    below = {
        "changes", "timeline", "cost", "terminal", "parked", "organisations", "prices", "charts", "invoices", "plan", "analytics", "organisation", "keys", "sessions", "members",
        "teams", "service-accounts", "secrets", "models", "schedules", "webhooks", "audit", "support", "",
    }  # fmt: skip
    assert set(routes) - below == set(PLACES)


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((WEB / "package-lock.json").read_text())
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
    assert all(
        package.get("integrity")
        for name, package in lock["packages"].items()
        if name and not package.get("inBundle")
    )


def test_nothing_marks_html_as_trusted() -> None:
    sources = [*(WEB / "src").rglob("*.ts*")]
    assert sources
    for path in sources:
        found = re.search(
            r"dangerouslySetInnerHTML|innerHTML|insertAdjacentHTML|document\.write|\beval\(", path.read_text()
        )
        assert found is None, path.relative_to(ROOT)
