"""Agents that npm installs, once for a checkout."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

PLACE = Path(__file__).resolve().parents[1] / "build" / "agents"
OPENCODE = ("opencode-linux-x64", "1.18.33")
CODEX = ("@agentclientprotocol/codex-acp", "2.6.0")
GEMINI = ("@google/gemini-cli", "0.61.0")


def installed(package: str, version: str) -> Path:
    """The folder of its program."""
    own = PLACE / "node_modules" / package / "bin"
    folder = own if package.startswith("opencode") else PLACE / "node_modules" / ".bin"
    if not (PLACE / "node_modules" / package).exists():
        npm = shutil.which("npm")
        assert npm, "npm installs agents: apt-get install npm"
        install = ("install", "--silent", "--no-fund", "--no-audit", "--prefix", str(PLACE))
        subprocess.run([npm, *install, f"{package}@{version}"], check=True, timeout=500)
    return folder
