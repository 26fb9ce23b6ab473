"""Fixtures for every test: a broker and a PostgreSQL per test process, fresh ones per test that asks."""

from collections.abc import Iterator

import pytest

from servers import Broker, Database, empty_nats, running_nats, running_postgres


@pytest.fixture(scope="session")
def nats_server() -> Iterator[Broker]:
    """One broker for the whole test process: name your streams after your test."""
    with running_nats() as broker:
        yield broker


@pytest.fixture
def fresh_nats() -> Iterator[Broker]:
    """An empty broker for this test alone (about 30 ms)."""
    with empty_nats() as broker:
        yield broker


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Database]:
    """One PostgreSQL for the whole test process (a second at its first use)."""
    with running_postgres() as database:
        yield database


@pytest.fixture
def postgres_dsn(postgres_server: Database) -> Iterator[str]:
    """The DSN of an empty database for this test alone."""
    with postgres_server.fresh() as dsn:
        yield dsn
