"""An archived log for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from archiving import Archive, archived
from projecting import open_pool
from remote_claude.eventsourcing.postgres.schemas import Pool
from servers import Broker


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[Pool]:
    async with open_pool(postgres_dsn) as pool:
        yield pool


@pytest.fixture
async def archive(fresh_nats: Broker, pool: Pool, tmp_path: Path) -> AsyncIterator[Archive]:
    async with archived(fresh_nats, pool, tmp_path) as archive:
        yield archive
