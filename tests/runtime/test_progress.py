"""What a long command shows on a terminal, and that it shows nothing elsewhere."""

import os
import pty
import subprocess
import sys

SHOWING = """
from remote_claude.runtime.admin.progress import ProgressDisplay
with ProgressDisplay("fold") as progress:
    progress(412_000, 824_000)
    progress._bar.refresh()
    progress(3, 0, "compare")
print("done")
"""


def shown_on_a_terminal(columns: str) -> str:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": columns}
    subprocess.run(
        [sys.executable, "-c", SHOWING], stdout=subprocess.PIPE, stderr=theirs, check=True, env=environment
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    return shown


def test_without_a_terminal_it_shows_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", SHOWING.replace("    progress._bar.refresh()\n", "")],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_on_a_terminal_it_shows_part_and_numbers_and_is_gone_at_the_end() -> None:
    shown = shown_on_a_terminal("100")
    for part in ("fold", "50%", "412,000 of 824,000", "compare"):
        assert part in shown
    assert shown.endswith("\x1b[2K")


def test_it_keeps_to_one_line_of_a_narrow_terminal() -> None:
    shown = shown_on_a_terminal("30")
    assert "fold" in shown
    assert shown.count("\n") == 1  # the end of the live display
