"""What the doctor looks at where nothing runs."""

import os
import time
from pathlib import Path

from product import Product


def checks(product: Product, code: int = 0) -> dict[str, tuple[str, str]]:
    done = product.run("doctor", "--json")
    assert done.code == code, done.out + done.err
    return {check["check"]: (check["level"], check["detail"]) for check in done.json}


def test_a_stopped_home_is_checked_before_the_first_start(tmp_path: Path) -> None:
    found = checks(Product(tmp_path / "home"))
    assert {"python", "git", "sandbox", "disk", "limits", "clock", "model key", "server"} <= found.keys()
    assert found["sandbox"][0] == "ok"
    assert found["model key"][0] == "note"
    assert "ANTHROPIC_API_KEY" in found["model key"][1]
    assert "GiB free" in found["disk"][1]


def test_a_key_in_the_environment_is_seen_and_not_shown(tmp_path: Path) -> None:
    level, detail = checks(Product(tmp_path / "home", {"ANTHROPIC_API_KEY": "made-up"}))["model key"]
    assert level == "ok"
    assert "made-up" not in detail


def test_a_sandbox_that_cannot_be_built_is_a_fault(tmp_path: Path) -> None:
    broken = tmp_path / "bin" / "bwrap"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    path = f"{broken.parent}:{os.environ['PATH']}"
    level, detail = checks(Product(tmp_path / "home", {"PATH": path}), code=1)["sandbox"]
    assert level == "failed"
    assert "No permissions to create a new namespace" in detail


def test_agents_without_a_sandbox_are_noted(tmp_path: Path) -> None:
    found = checks(Product(tmp_path / "home", {"RCLAUDE_RUNNER_ISOLATION": "none"}))
    assert found["sandbox"][0] == "note"


def test_a_clock_behind_the_homes_files_is_a_fault(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "log").mkdir(parents=True)
    (home / "log" / "stack.log").touch()
    os.utime(home / "log" / "stack.log", (time.time() + 3600,) * 2)
    level, detail = checks(Product(home), code=1)["clock"]
    assert level == "failed"
    assert "set the clock" in detail
