"""The table of the providers."""

from pathlib import Path

import pytest

from remote_claude.runner.providers.table import PAGES, page

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_the_table_says_what_the_providers_declare(path: Path) -> None:
    text = (ROOT / path).read_text()
    assert text == page(text), "make docs writes it"
