"""Remote text can't drive the user's terminal."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_claude.cli.terminal import output_text, safe_text


def test_escape_sequences_are_shown_instead_of_obeyed() -> None:
    assert safe_text(b"\x1b[2J\x1b]0;title\x07red\x1b[31m") == r"\x1b[2J\x1b]0;title\x07red\x1b[31m"


def test_eight_bit_controls_are_shown_too() -> None:
    assert safe_text("\x9b31m\x85") == r"\x9b31m\x85"


def test_a_lone_carriage_return_overwrites_nothing() -> None:
    assert safe_text("rm -rf /\rls\r\n") == "rm -rf /\\rls\n"


def test_marks_that_reorder_text_are_shown() -> None:
    assert safe_text("user\u202eexe.txt\u2066") == r"user\u202eexe.txt\u2066"


def test_broken_utf8_is_replaced_and_the_rest_is_kept() -> None:
    assert safe_text(b"caf\xc3\xa9 \xff\xfe \xe2\x82") == "café \ufffd\ufffd \ufffd"


def test_plain_text_is_untouched() -> None:
    text = "line\n\tindented “quoted” 漢字 🎉\n"
    assert safe_text(text) == safe_text(text.encode()) == text


@given(st.one_of(st.binary(), st.text(st.characters())))
def test_nothing_that_drives_a_terminal_is_left(text: bytes | str) -> None:
    safe = safe_text(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", safe)
    safe.encode("utf-8")


COLOURED = "\x1b[1;32mpassed\x1b[0m"


@pytest.mark.parametrize(
    ("printed", "plain", "styled"),
    [
        (COLOURED, "passed", COLOURED),
        ("\x1b[38;5;208mwarm\x1b[m", "warm", "\x1b[38;5;208mwarm\x1b[m"),
        ("  0%\r 50%\r100%\n", "100%\n", "100%\n"),
        ("\x1b[?25l\x1b[2Kdone\x1b[K\r\n", "done\n", "done\n"),
        ("\x1b]0;a title\x07text", "text", "text"),
        ("\x1b[8mhidden\x1b[0m", "hidden", "hidden\x1b[0m"),
        ("\x1b[2Aup", "\\x1b[2Aup", "\\x1b[2Aup"),
        ("\x1b]52;c;cHduZWQ=", "\\x1b]52;c;cHduZWQ=", "\\x1b]52;c;cHduZWQ="),
        ("\u202egnp.exe", "\\u202egnp.exe", "\\u202egnp.exe"),
    ],
)
def test_colours_pass_and_nothing_that_moves_the_cursor(printed: str, plain: str, styled: str) -> None:
    assert output_text(printed, styled=False) == plain
    assert output_text(printed, styled=True) == styled
