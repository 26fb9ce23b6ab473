"""The public status page, out of a real Prometheus."""

from __future__ import annotations

import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

from docker_host import ROOT
from prometheus_server import running_prometheus

script = SimpleNamespace(**runpy.run_path(str(ROOT / "deploy/observability/status_page.py")))
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def sample(series: str, value: int, seconds_ago: int) -> str:
    return f"{series} {value} {int(NOW.timestamp()) - seconds_ago}"


def test_the_page_shows_what_answers_what_is_wrong_and_each_day(tmp_path: Path) -> None:
    count = (
        'http_server_request_duration_seconds_count{http_route="/v1/tasks",http_response_status_code="%s"}'
    )
    samples = [
        *(sample(count % "200", 99 * step, 6000 - 60 * step) for step in range(100)),
        *(sample(count % "503", step, 6000 - 60 * step) for step in range(100)),
        sample('up{job="remote-claude",service="gateway",instance="a"}', 0, 60),
        sample('up{job="remote-claude",service="gateway",instance="b"}', 1, 60),
        sample('up{job="remote-claude",service="runner",instance="c"}', 0, 60),
        sample('ALERTS{alertname="NoRunner<b>",alertstate="firing",severity="page"}', 1, 60),
        sample('ALERTS{alertname="QueueLong",alertstate="firing",severity="ticket"}', 1, 60),
    ]
    with running_prometheus(tmp_path, samples) as url:
        status = script.read(url, NOW)

    assert status.services == {"gateway": True, "runner": False}
    assert status.alerts == ["NoRunner<b>"]
    [(day, share)] = status.days
    assert (day, round(share, 3)) == ("2026-11-20", 0.99)
    text = script.page(status, notice="We look at it.")
    assert "Something is wrong" in text
    assert "NoRunner&lt;b&gt;" in text
    assert "We look at it." in text
    well = script.Status(at=NOW + timedelta(days=1), services={"gateway": True}, alerts=[], days=[])
    assert "All services answer" in script.page(well)
