"""A question to PostgreSQL ends, answered or not."""

import asyncio

import psycopg
import pytest

from remote_claude.eventsourcing.postgres.schemas import Pool, query_connection


async def test_a_question_without_an_answer_fails_and_the_pool_goes_on(pool: Pool) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"has not answered within 0\.2 s"):
        async with query_connection(pool, within=0.2) as connection:
            await connection.execute("SELECT pg_sleep(3600)")
    async with query_connection(pool) as connection:
        found = await connection.execute("SELECT 1")
        assert await found.fetchone() == (1,)


async def test_none_of_many_questions_is_refused_that_has_only_to_wait_for_its_turn(pool: Pool) -> None:
    async def ask() -> None:
        async with query_connection(pool, within=0.5) as connection:
            await connection.execute("SELECT pg_sleep(0.1)")

    questions = 10 * pool.max_size  # together they take far longer than one may
    await asyncio.gather(*(ask() for _ in range(questions)))


async def test_questions_do_not_wait_in_line_for_a_database_that_answers_none(pool: Pool) -> None:
    async def ask() -> None:
        async with query_connection(pool, within=0.2) as connection:
            await connection.execute("SELECT pg_sleep(3600)")

    questions = (ask() for _ in range(3 * pool.max_size))
    async with asyncio.timeout(60):
        refused = await asyncio.gather(*questions, return_exceptions=True)
    assert {type(error) for error in refused} == {psycopg.OperationalError}
