"""Every command that a message or a page proposes is one that the command line takes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from typer.exceptions import TyperException

from guides import ROOT, command_lines, parse

PROPOSED = re.compile(r"`((?:rclaude|rclaude-admin) (?!VALUE)(?![^`]*(?:\[|\.\.\.`))[^`]+)`")
INCOMPLETE = re.compile(r"^(Missing|Invalid value|Usage:)|requires an argument|does not exist")
"""What stands for a value, or is left out, is the reader's to fill in."""


def texts(path: Path) -> Iterator[str]:
    """The strings of a module, with `VALUE` where something is filled in; or the text of a page."""
    if path.suffix != ".py":
        yield path.read_text()
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(p.value) if isinstance(p, ast.Constant) else "VALUE" for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_command_that_a_message_or_a_page_proposes_exists() -> None:
    sources = [p for top in ("cli", "shared", "services") for p in (ROOT / top).rglob("src/**/*.py")]
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    wrong = set()
    for path in (*sources, *pages):
        for text in texts(path):
            for proposed in PROPOSED.findall(text):
                for words in command_lines(re.sub(r"\s+", " ", proposed)):
                    try:
                        parse(words)
                    except TyperException as error:
                        why = error.format_message()
                        if not INCOMPLETE.search(why):
                            wrong.add(f"{path.relative_to(ROOT)}: {proposed}: {why}")
    assert sorted(wrong) == []
