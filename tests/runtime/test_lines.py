"""What `rclaude-admin` shows on a narrow screen."""

import pytest

from remote_claude.runtime.admin.lines import event_line, view_lines

EVENT = (4711, "2026-11-24T23:50:00.000000Z", "TaskSubmitted", "ev.gateway.org_01kb.task.task_01kb")
VIEW = {"name": "scheduler_assignments_by_runner", "position": 4711, "lag": 0, "parked": 0}


def test_through_a_pipe_lines_are_whole() -> None:
    assert event_line(*EVENT, None).split() == [str(part) for part in EVENT]
    [line] = view_lines([VIEW], None)
    assert line.startswith(f"{VIEW['name']} position ")


@pytest.mark.parametrize("width", [48, 60, 72, 80, 200])
def test_lines_keep_to_the_screen(width: int) -> None:
    [view] = view_lines([VIEW], width)
    for line in (event_line(*EVENT, width), view):
        assert len(line) <= width
    assert view.startswith(f"{VIEW['name']} ")
    assert view.endswith("parked 0")


def test_a_stream_is_cut_before_the_time_is_left_out() -> None:
    assert event_line(*EVENT, 80).startswith(f"    4711 {EVENT[1]} TaskSubmitted  ")
    assert event_line(*EVENT, 80).endswith(" ev.gateway.org_…")
    assert event_line(*EVENT, 60) == "    4711 TaskSubmitted              ev.gateway.org_01kb.tas…"


def test_names_of_views_stay_whole_and_the_positions_are_left_out_then_the_lags() -> None:
    views = [VIEW | {"name": "gateway_tasks"}, VIEW | {"name": "gateway_webhooks"}]
    assert view_lines(views, 60) == [
        "gateway_tasks        position       4711 lag      0 parked 0",
        "gateway_webhooks     position       4711 lag      0 parked 0",
    ]
    assert view_lines(views, 40) == [
        "gateway_tasks        lag      0 parked 0",
        "gateway_webhooks     lag      0 parked 0",
    ]
    assert view_lines(views, 30) == ["gateway_tasks         parked 0", "gateway_webhooks      parked 0"]
    assert view_lines(views, 10) == ["gateway_tasks", "gateway_webhooks"]
