"""Dashboards, alerts and runbooks as `deploy/observability` has them: they name what services show, and each alert fires."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from docker_host import ROOT
from product import Product

FOLDER = ROOT / "deploy/observability"
RUNBOOKS = ROOT / "docs/guides/runbooks.md"
DOCUMENTED = ROOT / "docs/guides/observability.md"
METRIC = re.compile(r"\b(?:rclaude|process|http_server)_[a-z_]+\b")
LATER = ("rclaude_billing_", "rclaude_scheduler_decisions")
"""What has nothing to show at first; `tests/end_to_end/test_metrics.py` holds that it is documented when it is shown."""


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def panels() -> list[dict[str, Any]]:
    return [
        panel for path in FOLDER.glob("dashboards/*.json") for panel in json.loads(path.read_text())["panels"]
    ]


def expressions() -> list[str]:
    return [rule["expr"] for rule in rules()] + [target["expr"] for p in panels() for target in p["targets"]]


def test_the_files_of_dashboards_are_those_of_the_code() -> None:
    documents = runpy.run_path(str(FOLDER / "dashboards.py"))["documents"]()
    assert {path: path.read_text() for path in FOLDER.glob("dashboards/*.json")} == documents


@pytest.mark.timeout(120)
def test_every_metric_that_is_asked_for_is_served(stack: Product) -> None:
    stack.ended(stack.submit("true"))
    with stack.client() as client:
        text = client.get("/metrics").text
    served = set(re.findall(r"^([a-z_]+)(?:\{| )", text, re.MULTILINE))
    served |= {
        name for name in re.findall(r"`(rclaude_\w+)`", DOCUMENTED.read_text()) if name.startswith(LATER)
    }
    asked = {name for one in expressions() for name in METRIC.findall(re.sub(r'"[^"]*"', "", one))}
    asked -= {"http_route", "http_response_status_code"}
    assert len(asked) > 20
    assert asked <= served
    labels = set(re.findall(r'[{,]([a-z_]+)="', text))
    assert {"http_route", "http_response_status_code", "le", "view", "how"} <= labels

    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = {name for one in expressions() for name in re.findall(r"remote_claude:[a-z_]+:\w+", one)}
    assert used == recorded


def test_each_alert_fires_and_keeps_quiet_when_all_is_well() -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing. Install it: apt-get install prometheus"
    done = subprocess.run(
        [promtool, "test", "rules", str(FOLDER / "rules_test.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("prometheus.yaml", "rules.yaml"):
        kind = "rules" if name == "rules.yaml" else "config"
        subprocess.run([promtool, "check", kind, str(FOLDER / name)], check=True, capture_output=True)

    tests = yaml.safe_load((FOLDER / "rules_test.yaml").read_text())["tests"]
    fired = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one.get("exp_alerts")}
    assert fired == set(alerts())


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    written = re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    assert sorted(written) == sorted(alerts())
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook_url"] == f"docs/guides/runbooks.md#{name.lower()}"
        assert rule["labels"]["severity"] in ("page", "ticket")
