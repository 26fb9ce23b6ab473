"""The commands of a guide, run as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from product import BIN, Product

GUIDES = Path(__file__).parents[1] / "docs" / "guides"


def follow(stack: Product, guide: str, cwd: Path) -> str:
    """Run all shell commands of a guide in one shell that ends at the first that fails; returns what they print."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (GUIDES / guide).read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        cwd=cwd,
        env={**stack.env, "PATH": f"{BIN}:{os.environ['PATH']}"},
        input="\n".join(blocks),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
