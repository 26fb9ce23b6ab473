"""Fixtures for every test: a broker, a PostgreSQL and a stack per test process, fresh servers per test that asks."""

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import structlog

import browsers
from product import Product, product
from remote_claude.runtime.settings import RuntimeSettings
from servers import Broker, Database, empty_nats, running_nats, running_postgres, settings_for

LEFT_OUT = pytest.StashKey[int]()
SLOW = {"architecture", "browser", "end_to_end", "faults", "hosted", "security", "simulator"}
"""Folders with the longest files. They are handed out first, so that no process has a long one left at the end."""

# As a service writes a traceback: with every local coloured it holds up the event loop for seconds.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported by now stays: looking for garbage in it, now and in each test, would find none."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes long comes first. What needs root is for root to run (CI does); anybody else is told what was left out."""
    items.sort(key=lambda item: item.path.parent.name not in SLOW)
    rooted = [item for item in items if item.get_closest_marker("root")]
    if rooted and os.geteuid() != 0:
        items[:] = [item for item in items if item not in rooted]
        config.hook.pytest_deselected(items=rooted)
        config.stash[LEFT_OUT] = len(rooted)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if browsers.missing() and not browsers.wanted():
        terminalreporter.write_line(
            f"The tests in a browser were left out. Missing: {', '.join(browsers.missing())}.",
            yellow=True,
        )
    if left_out := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(
            f"{left_out} tests were left out: they cut the power of a disk, or fill it, and need root and loop devices. "
            "To run them: sudo .venv/bin/pytest -m 'root and not nightly'",
            yellow=True,
        )


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


@pytest.fixture(scope="session")
def stack() -> Iterator[Product]:
    """One stack for the tests of a process that leave it as they found it."""
    with product({"RCLAUDE_OUTBOUND_ALLOW": "127.0.0.0/8"}) as one:
        yield one


@pytest.fixture
def settings(fresh_nats: Broker, postgres_dsn: str, tmp_path: Path) -> RuntimeSettings:
    """For a process of this test's own, on both."""
    return settings_for(fresh_nats, postgres_dsn, tmp_path)
