"""Each claim of the pages about security names a test or a command: they exist."""

from __future__ import annotations

import re

import pytest

from docker_host import ROOT

PAGES = sorted((ROOT / "docs/security").glob("*.md"))
COMMANDS = set(re.findall(r"^###? (rclaude.*)$", (ROOT / "docs/reference/cli.md").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tests_and_commands_that_a_page_names_exist(page: object) -> None:
    text = (ROOT / "docs/security" / str(page)).read_text()
    for path in re.findall(r"`((?:tests|deploy|services)/[\w./-]+\.\w+)`", text):
        assert (ROOT / path).exists(), path
    for said in re.findall(r"`((?:rclaude|rclaude-admin) [a-z][^`]*)`", text):
        words = [word for word in said.split() if re.fullmatch(r"[a-z][a-z-]*", word)]
        assert any(" ".join(words[:n]) in COMMANDS for n in (2, 3, 4)), said
    for target in re.findall(r"`make ([a-z-]+)`", text):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


def test_every_boundary_of_the_threat_model_and_every_clause_names_what_shows_it() -> None:
    for page, column, least in (("threat-model.md", 4, 9), ("data-processing.md", 3, 10)):
        text = (
            (ROOT / "docs/security" / page).read_text().split("held by |" if column == 4 else "shown by |")[1]
        )
        rows = [line.split("|") for line in text.splitlines() if line.startswith("| ")]
        assert len(rows) >= least
        assert all("`" in row[column] for row in rows)


def test_every_row_of_the_controls_names_its_evidence() -> None:
    rows = [
        line.split("|")
        for line in (ROOT / "docs/security/soc2.md").read_text().splitlines()
        if line.startswith("| ")
    ]
    controls = [row for row in rows if re.match(r" (CC|A|PI|C|P)\d", row[1])]
    assert len(controls) >= 15
    assert all("`" in row[3] for row in controls)
