"""A pool on an empty database, for tests of views."""

from collections.abc import AsyncIterator

import pytest

from projecting import open_pool
from remote_claude.eventsourcing.schemas import Pool


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[Pool]:
    async with open_pool(postgres_dsn) as pool:
        yield pool
