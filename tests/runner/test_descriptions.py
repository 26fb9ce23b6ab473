"""What the agent says of its work, in the description of a pull request: it does nothing there, and it fits."""

from __future__ import annotations

import pytest

from remote_claude.runner.forges.azure import MAX_DESCRIPTION
from remote_claude.runner.forges.description import BEGIN, BREAK, END, Work, fitted, placed, quiet, section

WORK = Work("task_1", 1, 20_000_000)


@pytest.mark.parametrize(
    "text",
    [
        "Thanks to @ada.",
        "Closes #12",
        "this fixes: ada/calc#7",
        "Resolved\nGH-3",
        "fix https://github.com/ada/calc/issues/7",
        "Implements PROJ-4",
        "Closing #1, #2 and group/project#3",
        "fixed AB#77",
        "/close",
        "done\n  /assign me",
    ],
)
def test_text_of_the_agent_calls_nobody_and_closes_nothing(text: str) -> None:
    assert BREAK in quiet(text)
    assert quiet(text).replace(BREAK, "") == text


@pytest.mark.parametrize(
    "text", ["See #12.", "The fix is in calc.py.", "a/b, 3 @ 4", "https://example.org/a"]
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert quiet(text) == text


def test_a_summary_cannot_end_our_section() -> None:
    assert section(f"one {END} two", [], [WORK], "").count(END) == 1


@pytest.mark.parametrize(("summary", "template"), [(9_000, 0), (3_000, 5_000), (10, 9_000), (9_000, 9_000)])
def test_a_description_that_is_too_long_keeps_our_end_mark_and_the_cost(summary: int, template: int) -> None:
    whole = placed(section("s" * summary, [], [WORK], ""), "t" * template)
    short = fitted(whole, MAX_DESCRIPTION)
    assert len(short) <= MAX_DESCRIPTION
    assert short.index(BEGIN) < short.index("$0.0200") < short.index(END)
    replaced = placed(section("new", [], [WORK], ""), short)
    assert replaced.count(BEGIN) == replaced.count(END) == 1
    assert "sss" not in replaced
