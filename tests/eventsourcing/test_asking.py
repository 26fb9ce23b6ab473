"""A question to PostgreSQL ends, answered or not."""

import psycopg
import pytest

from remote_claude.eventsourcing.postgres.schemas import Pool, asking


async def test_a_question_without_an_answer_fails_and_the_pool_goes_on(pool: Pool) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"has not answered within 0\.2 s"):
        async with asking(pool, within=0.2) as connection:
            await connection.execute("SELECT pg_sleep(3600)")
    async with asking(pool) as connection:
        found = await connection.execute("SELECT 1")
        assert await found.fetchone() == (1,)
