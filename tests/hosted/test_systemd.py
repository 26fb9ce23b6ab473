"""The unit files of deploy/systemd: systemd accepts them, and they give services only settings that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from remote_claude.runtime.settings_sources import resolve

UNITS = Path(__file__).parents[2] / "deploy/systemd"
BIN = Path(sys.executable).parent


def unit(name: str) -> str:
    return (UNITS / name).read_text()


@pytest.mark.parametrize("name", ["rclaude.service", "remote-claude@.service"])
def test_a_unit_sets_only_settings_that_exist(name: str, tmp_path: Path) -> None:
    given = dict(re.findall(r"^Environment=(\w+)=(.*)$", unit(name), re.MULTILINE))
    assert "RCLAUDE_HOME" in given
    if "RCLAUDE_SETTINGS" in given:
        given["RCLAUDE_SETTINGS"] = str(tmp_path / "settings.toml")
        Path(given["RCLAUDE_SETTINGS"]).write_text("")
    resolve(given)


@pytest.mark.parametrize("name", ["rclaude.service", "remote-claude@.service"])
def test_a_unit_starts_what_is_installed(name: str) -> None:
    [command] = re.findall(r"^ExecStart=/opt/remote-claude/bin/(\S+)", unit(name), re.MULTILINE)
    assert (BIN / command).exists()


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing; .ci/run installs it"
)
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for path in UNITS.iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace("/opt/remote-claude/bin", str(BIN)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"]
        + [str(tmp_path / name) for name in ("rclaude.service", "remote-claude@gateway.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
