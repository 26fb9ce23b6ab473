"""A stack with a model for the tests that leave it as they found it, and a repository."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from messages_api import MessagesApi, serving_in_a_thread
from product import Product, product, repository


@pytest.fixture(scope="session")
def model() -> Iterator[MessagesApi]:
    """The model of `with_model`: a test says what it `play`s."""
    with serving_in_a_thread() as api:
        yield api


@pytest.fixture(scope="session")
def with_model(model: MessagesApi) -> Iterator[Product]:
    """A stack with a model, for the tests that leave it as they found it."""
    with product({"ANTHROPIC_API_KEY": model.key[1], "ANTHROPIC_BASE_URL": model.base_url}) as one:
        yield one


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return repository(
        tmp_path / "repo", {"README.md": "hello\n", "calc.py": "def add(a, b):\n    return a - b\n"}
    )
