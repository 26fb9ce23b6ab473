#!/usr/bin/env python3
"""Write a public status page out of Prometheus: `status_page.py http://127.0.0.1:9090 status.html [--notice TEXT]`.

One file without scripts. Run it each minute, and serve the file from somewhere else than the installation, so that it is there
when the installation is not. It names services and alerts, and no organisation.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

DAYS = 30
REQUESTS = 'http_server_request_duration_seconds_count{http_route=~"/v1/.+"}'
FAILED = 'http_server_request_duration_seconds_count{http_route=~"/v1/.+", http_response_status_code=~"5.."}'
DAY = f"1 - (sum(increase({FAILED}[1d])) or vector(0)) / sum(increase({REQUESTS}[1d]))"
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}"
    "h1{font-size:1.5rem}.state{padding:.75rem 1rem;border-radius:.5rem;color:#fff;background:#166534}"
    ".state.bad{background:#991b1b}table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .5rem;border-bottom:1px solid #ddd}"
)


@dataclass(frozen=True)
class Status:
    """`services`: whether at least one process of each answers. `days`: the share of good requests, newest first."""

    at: datetime
    services: dict[str, bool]
    alerts: list[str]
    days: list[tuple[str, float]]

    @property
    def healthy(self) -> bool:
        """Whether everything answers, and nothing that somebody is called for goes on."""
        return bool(self.services) and all(self.services.values()) and not self.alerts


def _results(prometheus: str, path: str, **query: Any) -> list[Any]:
    with urlopen(f"{prometheus.rstrip('/')}/api/v1/{path}?{urlencode(query)}", timeout=30) as answer:  # noqa: S310  the operator's own
        found: list[Any] = json.load(answer)["data"]["result"]
    return found


def read(prometheus: str, now: datetime) -> Status:
    """What Prometheus knows. Raises `OSError` when it does not answer."""
    at = now.timestamp()
    up = _results(prometheus, "query", query='max by (service) (up{job="remote-claude"})', time=at)
    firing = _results(prometheus, "query", query='ALERTS{alertstate="firing", severity="page"}', time=at)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    start = (midnight - timedelta(days=DAYS - 1)).timestamp()
    daily = _results(prometheus, "query_range", query=DAY, start=start, end=midnight.timestamp(), step="1d")
    points = [(float(at), float(value)) for series in daily for at, value in series["values"]]
    return Status(
        at=now,
        services={one["metric"]["service"]: one["value"][1] == "1" for one in up},
        alerts=sorted({one["metric"]["alertname"] for one in firing}),
        days=[
            (f"{datetime.fromtimestamp(at, UTC) - timedelta(seconds=1):%Y-%m-%d}", share)
            for at, share in reversed(points)
            if share == share  # a day without requests is NaN
        ],
    )


def page(status: Status, notice: str = "") -> str:
    """The page as HTML."""
    said = "All services answer" if status.healthy else "Something is wrong"
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{'answers' if up else 'does not answer'}</td></tr>"
        for name, up in sorted(status.services.items())
    )
    days = "".join(
        f"<tr><td>{escape(day)}</td><td>{int(share * 100_000) / 1000:.3f} %</td></tr>"
        for day, share in status.days
    )
    alerts = "".join(f"<li>{escape(name)}</li>" for name in status.alerts)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="refresh" content="60"><title>Status of Remote Claude</title><style>{STYLE}</style></head><body>'
        f'<h1>Status of Remote Claude</h1><p class="state{"" if status.healthy else " bad"}">{said}</p>'
        + (f"<p>{escape(notice)}</p>" if notice else "")
        + f"<p>As of <time>{status.at:%Y-%m-%d %H:%M}</time> UTC.</p>"
        + (f"<h2>We are looking at</h2><ul>{alerts}</ul>" if alerts else "")
        + f"<h2>Services</h2><table>{rows}</table>"
        + f"<h2>Requests that succeeded</h2><table>{days}</table></body></html>\n"
    )


def main() -> int:
    """The exit code. A page that can't be made leaves the one that is there, with its time."""
    parser = argparse.ArgumentParser(description="Write a public status page out of Prometheus.")
    parser.add_argument("prometheus")
    parser.add_argument("file", type=Path)
    parser.add_argument("--notice", default="")
    given = parser.parse_args()
    try:
        text = page(read(given.prometheus, datetime.now(UTC)), given.notice)
    except (OSError, ValueError, KeyError) as error:
        print(f"{given.prometheus} gives no answer: {error}. {given.file} is unchanged", file=sys.stderr)
        return 1
    written = given.file.with_suffix(".new")
    written.write_text(text, encoding="utf-8")
    os.replace(written, given.file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
