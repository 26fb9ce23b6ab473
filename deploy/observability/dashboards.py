"""The Grafana dashboards, as code: `python deploy/observability/dashboards.py` writes one JSON file for each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent / "dashboards"


class Panel(NamedTuple):
    """A graph over time: a title, PromQL expressions by legend, a unit of Grafana's."""

    title: str
    expressions: dict[str, str]
    unit: str = "short"


DASHBOARDS: dict[str, list[Panel]] = {
    "Objectives": [
        Panel(
            "Requests that fail (objective: under 0.1 %)",
            {"5 min": "remote_claude:request_errors:ratio5m", "1 h": "remote_claude:request_errors:ratio1h"},
            "percentunit",
        ),
        Panel(
            "Duration of requests, 99th percentile", {"p99": "remote_claude:request_seconds:p99"}, "s"
        ),
        Panel("Requests a second", {"all": "remote_claude:requests:rate5m"}, "reqps"),
        Panel("Alerts that fire", {"{{alertname}}": 'ALERTS{alertstate="firing"}'}),
    ],
    "Services": [
        Panel("Processes that answer", {"{{service}}": 'sum by (service) (up{job="remote-claude"})'}),
        Panel(
            "Requests by route",
            {"{{http_route}}": "sum by (http_route) (rate(http_server_request_duration_seconds_count[5m]))"},
            "reqps",
        ),
        Panel("Requests that are being answered", {"{{service}}": "sum by (service) (http_server_active_requests)"}),
        Panel("Processor", {"{{service}}": "sum by (service) (rate(process_cpu_seconds_total[5m]))"}, "percentunit"),
        Panel("Memory", {"{{service}} {{instance}}": "process_resident_memory_bytes"}, "bytes"),
        Panel("File descriptors in use", {"{{service}}": "process_open_fds / process_max_fds"}, "percentunit"),
        Panel("Starts", {"{{service}} {{instance}}": "time() - process_start_time_seconds"}, "s"),
    ],
    "Log": [
        Panel("Events appended a second", {"{{service}}": "sum by (service) (rate(rclaude_log_events_total[5m]))"}),
        Panel("Duration of an append, 99th percentile", {"p99": "remote_claude:append_seconds:p99"}, "s"),
        Panel("Publishes by kind", {"{{how}}": "sum by (how) (rate(rclaude_log_commits_total[5m]))"}),
        Panel("Position", {"{{service}}": "max by (service) (rclaude_log_position)"}),
        Panel("Events that a view is behind", {"{{view}}": "max by (view) (rclaude_view_lag_events)"}),
        Panel("Parked events (expected: 0)", {"{{view}}": "max by (view) (rclaude_view_parked_events)"}),
        Panel(
            "Conflicts, retries and appends given up",
            {
                "conflicts": "sum(rate(rclaude_log_conflicts_total[5m]))",
                "retries": "sum(rate(rclaude_log_retries_total[5m]))",
                "given up": "sum(rate(rclaude_log_unavailable_total[5m]))",
            },
        ),
        Panel("Missing positions (expected: 0)", {"{{service}}": "max by (service) (rclaude_log_missing_events)"}),
    ],
    "Queue": [
        Panel(
            "Tasks",
            {"queued": "max(rclaude_scheduler_queued)", "running": "max(rclaude_scheduler_running)"},
        ),
        Panel("Runners", {"known": "max(rclaude_scheduler_runners)"}),
        Panel("Leaders (expected: 1)", {"{{instance}}": "rclaude_scheduler_leader"}),
        Panel("Decisions a second", {"{{type}}": "sum by (type) (rate(rclaude_scheduler_decisions_total[5m]))"}),
        Panel("Effects without an outcome", {"{{view}}": "max by (view) (rclaude_outbox_pending)"}),
        Panel("Attempts of effects", {"{{view}} {{how}}": "sum by (view, how) (rate(rclaude_outbox_attempts_total[5m]))"}),
    ],
    "Billing": [
        Panel("Unaccounted (expected: 0)", {"{{meter}}": "max by (meter) (rclaude_billing_unaccounted)"}),
        Panel("Metered this month", {"{{meter}}": "max by (meter) (rclaude_billing_metered)"}),
        Panel("Charged this month", {"{{meter}}": "max by (meter) (rclaude_billing_charged)"}),
        Panel("Included in plans", {"{{meter}}": "max by (meter) (rclaude_billing_included)"}),
        Panel("Written off with lost attempts", {"{{meter}}": "max by (meter) (rclaude_billing_written_off)"}),
    ],
}  # fmt: skip
_PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}


def dashboard(title: str, panels: list[Panel]) -> dict[str, Any]:
    """The document that Grafana takes: panels in two columns."""
    return {
        "uid": f"remote-claude-{title.lower()}",
        "title": title,
        "tags": ["remote-claude"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "panels": [
            {
                "id": n + 1,
                "type": "timeseries",
                "title": panel.title,
                "datasource": _PROMETHEUS,
                "gridPos": {"x": 12 * (n % 2), "y": 8 * (n // 2), "w": 12, "h": 8},
                "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
                "targets": [
                    {"refId": chr(65 + i), "datasource": _PROMETHEUS, "expr": expression, "legendFormat": legend}
                    for i, (legend, expression) in enumerate(panel.expressions.items())
                ],
            }
            for n, panel in enumerate(panels)
        ],
    }  # fmt: skip


def documents() -> dict[Path, str]:
    """The text of each file, by its path."""
    return {
        FOLDER / f"{title.lower()}.json": json.dumps(dashboard(title, panels), indent=1) + "\n"
        for title, panels in DASHBOARDS.items()
    }


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text)
