"""The metrics page of a stack that has worked, and the page of the documentation that names what is on it."""

import re
from pathlib import Path

from product import Product

DOCUMENTED = Path(__file__).parents[2] / "docs/guides/observability.md"
ON_EVERY_PAGE = ("rclaude_log_", "rclaude_view_", "rclaude_outbox_")
SAMPLE = re.compile(r"^(rclaude_\w+?)(?:\{(.*)\})? ([0-9.e+-]+)$", re.MULTILINE)


def page(stack: Product) -> dict[tuple[str, str], float]:
    """Value by name and by the one label that is ours, empty where there is none."""
    with stack.client() as client:
        text = client.get("/metrics").text
    found = {}
    for name, labels, value in SAMPLE.findall(text):
        own = re.findall(r'(?:^|,)(?:view|meter|type|how)="(\w+)"', labels)
        found[name, "".join(own)] = float(value)
    return found


def test_what_the_page_shows_is_documented_and_what_is_promised_is_shown(stack: Product) -> None:
    stack.ended(stack.submit("true"))
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name, _ in page(stack)}
    documented = set(re.findall(r"`(rclaude_\w+)`", DOCUMENTED.read_text()))
    assert shown <= documented
    assert {name for name in documented if name.startswith(ON_EVERY_PAGE)} <= shown


def test_the_log_is_counted_and_nothing_is_missing(stack: Product) -> None:
    before = page(stack)
    stack.ended(stack.submit("true"))
    after = page(stack)

    def rise(name: str, label: str = "") -> float:
        return after[name, label] - before[name, label]

    assert rise("rclaude_log_events_total") >= 5
    assert rise("rclaude_log_appends_total") >= 3
    assert rise("rclaude_log_commits_total", "single") + rise("rclaude_log_commits_total", "batch") >= 3
    assert rise("rclaude_log_append_seconds_count") >= 3
    assert rise("rclaude_log_group_appends_sum") >= rise("rclaude_log_append_seconds_count")
    assert rise("rclaude_view_batch_events_count", "billing_usage") >= 1
    assert after["rclaude_log_missing_events", ""] == 0
    assert {v for (name, _), v in after.items() if name == "rclaude_view_parked_events"} == {0}
    assert not any(v for (name, _), v in after.items() if name == "rclaude_billing_unaccounted")
