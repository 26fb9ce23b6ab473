"""What tests of views share: a pool on an empty database, and a log with its tail."""

from collections.abc import AsyncIterator

import pytest

from projecting import Log, open_pool
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.tail import Tail


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[Pool]:
    async with open_pool(postgres_dsn) as pool:
        yield pool


@pytest.fixture
async def log() -> AsyncIterator[Log]:
    log = Log()
    async with Tail(log) as log.tail:
        yield log
