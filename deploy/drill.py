"""`make drill`: lose a whole installation, restore it from its backup, and measure. Standard library only.

It follows the commands of docs/guides/backup.md, piece by piece, on a stack of its own below build/drill. What it prints:

- recovery point: the age of the newest event in the backup when everything was lost, in seconds. A schedule adds its interval.
- recovery time: from the first command of the restore to the end of a new task, in seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "build" / "drill"
HOME = PLACE / "home"
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("RCLAUDE_")},
    "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}",
    "RCLAUDE_HOME": str(HOME),
    "BACKUP": str(PLACE / "backup"),
    "SAFE": str(PLACE / "safe"),
}


def commands() -> tuple[str, str]:
    """Those of the guide: to back up while it runs, and to restore."""
    guide = (ROOT / "docs/guides/backup.md").read_text()
    part = guide.split("## Piece by piece")[1].split("\n## ")[0]
    backup, restore = re.findall(r"^```sh\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
    return backup, restore


def shell(script: str) -> str:
    """Run it to its end; the first command that fails ends the drill."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        input=script,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"drill: a command failed:\n{script}\n{done.stdout}")
    return done.stdout


def events() -> list[Any]:
    return [json.loads(line) for line in shell("rclaude-admin log read --json").splitlines()]


def run_tasks(number: int) -> None:
    shell(
        f"for n in $(seq {number}); do rclaude run --agent shell --no-repo --json 'echo drill' > /dev/null; done"
    )


def drill(tasks: int) -> dict[str, Any]:
    """What was measured. The installation is gone in the middle of it."""
    if HOME.exists():
        shell("rclaude down || true")
    shutil.rmtree(PLACE, ignore_errors=True)
    for folder in ("backup", "safe"):
        (PLACE / folder).mkdir(parents=True, mode=0o700)
    backup, restore = commands()

    shell("rclaude up --detach")
    run_tasks(tasks)
    started = time.monotonic()
    shell(backup)
    backup_s = time.monotonic() - started
    run_tasks(1)  # accepted after the backup: what a restore can't bring back
    before = events()
    lost_at = datetime.now(UTC)
    shell("rclaude down")
    shutil.rmtree(HOME)

    started = time.monotonic()
    shell(restore)
    after = events()
    run_tasks(1)
    recovery_s = time.monotonic() - started
    known = {event["id"] for event in after}
    kept = [event for event in before if event["id"] in known]
    missing = [event for event in before if event["id"] not in known]
    if not kept or (missing and missing[0]["position"] < kept[-1]["position"]):
        sys.exit("drill: the restored log has holes")
    shell("rclaude-admin log verify; rclaude-admin verify; rclaude down")
    return {
        "events_in_backup": len(kept),
        "events_after_backup": len(missing),
        "backup_seconds": round(backup_s, 1),
        "recovery_point_seconds": round(
            (lost_at - datetime.fromisoformat(kept[-1]["time"])).total_seconds(), 1
        ),
        "recovery_time_seconds": round(recovery_s, 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description="Lose an installation, restore it from its backup, and measure."
    )
    parser.add_argument("--tasks", type=int, default=20, help="how many tasks run before the backup")
    print(json.dumps(drill(parser.parse_args().tasks)))
    shutil.rmtree(PLACE)
