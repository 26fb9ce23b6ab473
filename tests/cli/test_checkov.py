"""Checkov over the template of AWS: what it finds is right, or listed here with the reason why it stays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from docker_host import ROOT

VERSION = "3.3.30"
TOOLS = ROOT / "build/checkov"
STAYS = {
    "CKV_AWS_23": "each rule has a description; Checkov does not read the one below `!If`",
    "CKV_AWS_136": "the images hold no secret, and AWS encrypts them by a key of its own; a key of the account costs each month",
    "CKV_AWS_51": "the worker's image is pushed again as `latest` with each release",
    "CKV_AWS_65": "container insights cost for each task; the runner measures its tasks itself",
    "CKV_AWS_158": "the log holds the start of a worker only, and AWS encrypts it by a key of its own",
}


@pytest.fixture(scope="module")
def checkov() -> Path:
    """In an environment of its own: it pins what we need in other versions."""
    program = TOOLS / "bin/checkov"
    if not program.exists():
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, TOOLS], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", TOOLS, f"checkov=={VERSION}"], check=True
        )
    return program


@pytest.mark.nightly  # installs and runs a large tool: half a minute
def test_the_template_of_aws_has_no_finding_without_a_reason(checkov: Path) -> None:
    command = [
        str(TOOLS / "bin/python"),
        str(checkov),
        "--skip-download",
        "--compact",
        "--quiet",
        "--framework",
        "cloudformation",
    ]
    done = subprocess.run(
        [*command, "--output", "json", "--file", str(ROOT / "deploy/aws/compute.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)
    assert found["summary"]["passed"] > 20
    assert {one["check_id"] for one in found["results"]["failed_checks"]} == STAYS.keys()
