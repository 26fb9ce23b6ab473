"""From a clean clone to the first streamed output of `make demo`, installs included, and to its end."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from readings import Reading, at_most

ROOT = Path(__file__).resolve().parents[2]
FIRST_OUTPUT = "test_words_are_joined_by_hyphens"
OURS = ("RCLAUDE_", "ANTHROPIC_", "VIRTUAL_ENV")


def measure() -> Iterator[Reading]:
    """Seconds, with an empty package cache."""
    with TemporaryDirectory(prefix="rclaude-clone-") as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        environment = {**clean, "UV_CACHE_DIR": f"{folder}/uv", "PIP_NO_CACHE_DIR": "1"}
        began = time.perf_counter()
        first: float | None = None
        with subprocess.Popen(
            ["make", "demo"],
            cwd=clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        ) as demo:
            assert demo.stdout is not None
            for line in demo.stdout:
                if first is None and line.startswith(FIRST_OUTPUT) and line.rstrip().endswith("ok"):
                    first = time.perf_counter() - began
        ended = time.perf_counter() - began
        assert demo.returncode == 0, f"make demo ended with {demo.returncode}"
        assert first is not None, "the demo streamed nothing"
    for what, seconds, limit in (("the first streamed output", first, 120.0), ("the end", ended, 180.0)):
        what = f"clean clone to {what} of make demo"
        yield at_most(figure="first-run", what=what, value=seconds, limit=limit, unit="s")
