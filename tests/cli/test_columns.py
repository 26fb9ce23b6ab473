"""What is shown of a table on a narrow screen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_claude.cli.columns import NARROWEST, elided, fit, width

ROWS = [("id", "state", "when", "prompt"), ("task_0123456789", "running", "2026-11-23", "fix the flaky test")]


def lines(limit: int | None) -> list[str]:
    return ["  ".join(cells).rstrip() for cells in fit(ROWS, limit, "prompt", ("when", "state"))]


def test_with_room_enough_everything_is_there() -> None:
    assert lines(None) == lines(200)
    assert lines(None)[1] == "task_0123456789  running  2026-11-23  fix the flaky test"


def test_the_elastic_column_is_cut_first_and_others_are_left_out_then() -> None:
    assert lines(50)[1] == "task_0123456789  running  2026-11-23  fix the fla…"
    assert lines(40) == ["id               state    prompt", "task_0123456789  running  fix the flaky…"]
    assert lines(26)[1] == "task_0123456789  fix the…"


def test_an_id_is_never_cut() -> None:
    assert lines(5)[1].startswith("task_0123456789 ")


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("漢字", 4), ("e\u0301", 1), ("", 0)])
def test_a_text_takes_the_columns_that_a_terminal_gives_it(text: str, columns: int) -> None:
    assert width(text) == columns


@given(st.text(), st.integers(1, 40))
def test_a_text_is_cut_to_its_limit_and_says_so(text: str, limit: int) -> None:
    cut = elided(text, limit)
    assert width(cut) <= limit
    assert cut == text or cut.endswith("…")


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5), st.integers(30, 80))
def test_a_row_keeps_to_the_screen(prompts: list[str], limit: int) -> None:
    rows = [("id", "prompt"), *(("x" * 20, prompt) for prompt in prompts)]
    assert limit >= 20 + 2 + NARROWEST
    for cells in fit(rows, limit, "prompt", ()):
        assert width("  ".join(cells)) <= limit
