"""The drill of a disaster: an installation is lost and restored. Every night only: it takes as long as two starts of a stack."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from docker_host import ROOT


@pytest.mark.nightly
def test_an_installation_that_was_lost_is_restored_and_measured() -> None:
    script = [sys.executable, str(ROOT / "deploy/drill.py"), "--tasks", "2"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    measured = json.loads(done.stdout)
    assert measured["events_in_backup"] > 10
    assert measured["events_after_backup"] > 0
    assert min(measured["recovery_point_seconds"], measured["recovery_time_seconds"]) > 0
