"""What `rclaude-admin` shows on a narrow screen."""

import pytest

from remote_claude.runtime.lines import event_line, view_line

EVENT = (4711, "2026-11-24T23:50:00.000000Z", "TaskSubmitted", "ev.gateway.org_01kb.task.task_01kb")
VIEW = {"name": "scheduler_assignments_by_runner", "position": 4711, "lag": 0, "parked": 0}


def test_through_a_pipe_lines_are_whole() -> None:
    assert event_line(*EVENT, None).split() == [str(part) for part in EVENT]
    assert view_line(VIEW, None).startswith(f"{VIEW['name']} position ")


@pytest.mark.parametrize("width", [48, 60, 72, 80, 200])
def test_lines_keep_to_the_screen(width: int) -> None:
    for line in (event_line(*EVENT, width), view_line(VIEW, width)):
        assert len(line) <= width
    assert view_line(VIEW, width).endswith("parked 0")


def test_a_stream_is_cut_before_the_time_is_left_out() -> None:
    assert event_line(*EVENT, 80).startswith(f"    4711 {EVENT[1]} TaskSubmitted  ")
    assert event_line(*EVENT, 80).endswith(" ev.gateway.org_…")
    assert event_line(*EVENT, 60) == "    4711 TaskSubmitted              ev.gateway.org_01kb.tas…"
