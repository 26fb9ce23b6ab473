"""What `rclaude-admin` shows on a narrow screen."""

from typing import Any

import pytest

from remote_claude.runtime.admin.lines import event_line, print_views

EVENT = (4711, "2026-11-24T23:50:00.000000Z", "TaskSubmitted", "ev.gateway.org_01kb.task.task_01kb")
VIEW: dict[str, Any] = {"name": "scheduler_assignments_by_runner", "position": 4711, "lag": 0, "parked": 0}


def printed(capsys: pytest.CaptureFixture[str], width: int | None) -> list[str]:
    print_views([VIEW, VIEW | {"name": "archive", "lag": 3}], width)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_through_a_pipe_lines_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert event_line(*EVENT, None).split() == [str(part) for part in EVENT]
    assert [line.split() for line in printed(capsys, None)] == [
        ["view", "position", "lag", "parked"],
        [VIEW["name"], "4711", "0", "0"],
        ["archive", "4711", "3", "0"],
    ]


@pytest.mark.parametrize("width", [48, 60, 72, 80, 200])
def test_lines_keep_to_the_screen(capsys: pytest.CaptureFixture[str], width: int) -> None:
    for line in (event_line(*EVENT, width), *printed(capsys, width)):
        assert len(line) <= width


def test_a_name_without_room_goes_on_in_the_next_line(capsys: pytest.CaptureFixture[str]) -> None:
    first, second, rest, _ = printed(capsys, 48)
    assert second.split() == [VIEW["name"][: len(second.split()[0])], "4711", "0", "0"]
    assert second.split()[0] + rest == VIEW["name"]
    assert first.split() == ["view", "position", "lag", "parked"]


def test_a_stream_is_cut_before_the_time_is_left_out() -> None:
    assert event_line(*EVENT, 80).startswith(f"    4711 {EVENT[1]} TaskSubmitted  ")
    assert event_line(*EVENT, 80).endswith(" ev.gateway.org_…")
    assert event_line(*EVENT, 60) == "    4711 TaskSubmitted              ev.gateway.org_01kb.tas…"
