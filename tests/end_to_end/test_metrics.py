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


def test_every_metric_has_a_help_text(stack: Product) -> None:
    stack.ended(stack.submit("true"))
    with stack.client() as client:
        text = client.get("/metrics").text
    help = dict(re.findall(r"^# HELP (\w+) ?(.*)$", text, re.MULTILINE))
    assert {name for name in help if name.startswith("rclaude_")} != set()
    assert [name for name, words in help.items() if not words] == []


def test_requests_and_the_process_are_measured(stack: Product) -> None:
    with stack.client() as client:
        client.get("/v1/tasks")
        client.get("/no/such/page")
        text = client.get("/metrics").text
    routes = set(
        re.findall(r'^http_server_request_duration_seconds_count\{.*http_route="([^"]*)"', text, re.MULTILINE)
    )
    assert "/v1/tasks" in routes
    assert "/no/such/page" not in routes
    resident = re.search(r"^process_resident_memory_bytes ([0-9.e+]+)$", text, re.MULTILINE)
    assert resident is not None
    assert float(resident[1]) > 1e6
    assert {"process_cpu_seconds_total", "process_open_fds"} <= set(
        re.findall(r"^(\w+) ", text, re.MULTILINE)
    )
