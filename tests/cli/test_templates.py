"""The templates that `rclaude init --self-hosted` deploys, and the settings that they hand to the runner."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from typing import Any

import kubernetes_validate
import pytest
import yaml

from docker_host import ROOT
from remote_claude.cli.self_hosted.clouds import CLOUDS
from remote_claude.cli.self_hosted.clouds.base import Answers
from remote_claude.cli.self_hosted.clouds.kubernetes import manifests

ANSWERS = Answers("kubernetes", name="mine", gateway_cidr="203.0.113.7/32", gateway_port=8443)


def known_settings() -> set[str]:
    """Every variable of the environment that the runner reads."""
    return {
        f"{entry.name}{field.upper()}"
        for entry in entry_points(group="remote_claude.settings")
        for field in entry.load().model_fields
    }


@pytest.mark.parametrize("file", ["aws/outputs.tf", "gcp/outputs.tf", "azure/outputs.tf", "azure/main.bicep"])
def test_a_template_hands_over_settings_that_the_runner_reads(file: str) -> None:
    named = set(re.findall(r"\bRCLAUDE_\w+", (ROOT / "deploy" / file).read_text()))
    assert len(named) > 5
    assert named <= known_settings()


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_a_template_has_each_variable_that_it_uses_and_no_other(cloud: str) -> None:
    text = "".join(file.read_text() for file in (ROOT / "deploy" / cloud).glob("*.tf"))
    assert set(re.findall(r"\bvar\.(\w+)", text)) == set(re.findall(r'^variable "(\w+)"', text, re.MULTILINE))


def test_the_manifests_are_valid_and_let_tasks_reach_names_and_the_gateway_only() -> None:
    found: dict[str, Any] = {one["kind"]: one for one in yaml.safe_load_all(manifests(ANSWERS))}
    for one in found.values():
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    egress = found["NetworkPolicy"]["spec"]["egress"]
    assert egress[1] == {
        "to": [{"ipBlock": {"cidr": "203.0.113.7/32"}}],
        "ports": [{"protocol": "TCP", "port": 8443}],
    }
    assert [rule["ports"][0]["port"] for rule in egress] == [53, 8443]
    assert "ingress" not in found["NetworkPolicy"]["spec"]
    assert {"name": "mine"}.items() <= found["Namespace"]["metadata"].items()


def test_every_cloud_of_the_wizard_has_its_line_in_the_reference() -> None:
    page = (ROOT / "docs/reference/cli.md").read_text()
    assert [name for name in CLOUDS if f"`{name}`" not in page] == []
