"""One stack for the tests that leave it as they found it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from product import Product, product, repository


@pytest.fixture(scope="session")
def stack() -> Iterator[Product]:
    with product({"RCLAUDE_OUTBOUND_ALLOW": "127.0.0.0/8"}) as one:
        yield one


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return repository(
        tmp_path / "repo", {"README.md": "hello\n", "calc.py": "def add(a, b):\n    return a - b\n"}
    )
