"""A question to PostgreSQL ends, answered or not."""

import psycopg
import pytest

from remote_claude.eventsourcing import schemas
from remote_claude.eventsourcing.schemas import Pool, asking


async def test_a_question_without_an_answer_fails_and_the_pool_goes_on(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemas, "ANSWER_S", 0.2)
    with pytest.raises(psycopg.OperationalError, match="has not answered"):
        async with asking(pool) as connection:
            await connection.execute("SELECT pg_sleep(3600)")
    monkeypatch.undo()
    async with asking(pool) as connection:
        found = await connection.execute("SELECT 1")
        assert await found.fetchone() == (1,)
