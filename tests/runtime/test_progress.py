"""What a long command shows on a terminal, and that it shows nothing elsewhere."""

import os
import pty
import subprocess
import sys

import pytest

from remote_claude.runtime.admin.progress import clock, text


def test_it_says_percent_rate_and_time_left() -> None:
    assert text("fold", 412_000, 800_000, 38_120.4, 79) == (
        "fold     ████████████░░░░░░░░░░░░  52%  412,000 of 800,000  38,120/s  0:10 left"
    )


@pytest.mark.parametrize("width", range(1, 160))
def test_it_never_wraps(width: int) -> None:
    for done, rate in ((0, 0.0), (1, 0.01), (123_456_789, 1_000_000.0), (2_000_000_000, 5.0)):
        assert len(text("compare", done, 2_000_000_000, rate, width)) <= width
        assert len(text("compare", done, 0, rate, width)) <= width


def test_on_a_narrow_screen_the_numbers_give_way_before_percent_and_time() -> None:
    shown = text("fold", 412_000, 800_000, 38_120.4, 59)
    assert shown == "fold     ████████████░░░░░░░░░░░░  52%  38,120/s  0:10 left"
    assert text("fold", 412_000, 800_000, 38_120.4, 35) == "fold     █████░░░░░  52%  0:10 left"


def test_a_phase_of_unknown_length_only_counts() -> None:
    assert text("compare", 12_000, 0, 1.0, 79) == "compare  12,000"
    assert text("swap", 0, 0, 0.0, 79) == "swap"


def test_time_left_is_read_at_a_glance() -> None:
    assert [clock(s) for s in (0.2, 59.6, 754, 10_800)] == ["0:00", "1:00", "12:34", "3:00:00"]


SHOWING = """
from remote_claude.runtime.admin.progress import Progress
with Progress("fold") as progress:
    progress(1, 2)
    progress(3, 0, "compare")
print("done")
"""


def test_without_a_terminal_it_says_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", SHOWING], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_on_a_terminal_it_is_gone_at_the_end() -> None:
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", SHOWING], stdout=subprocess.PIPE, stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "fold" in shown
    assert " 50%" in shown
    assert "compare  3" in shown
    assert shown.endswith("\r\x1b[2K")
