"""The servers that all other tests stand on."""

import nats
import psycopg
import pytest

from servers import Broker, Database, empty_nats, running_postgres


async def test_broker_keeps_what_it_acknowledged_over_a_kill(fresh_nats: Broker) -> None:
    client = await nats.connect(**fresh_nats.options)
    await client.jetstream().add_stream(name="KEPT", subjects=["kept.>"])
    await client.jetstream().publish("kept.1", b"x")
    await client.close()

    before = fresh_nats.pid
    fresh_nats.kill()
    fresh_nats.start()

    assert fresh_nats.pid != before
    client = await nats.connect(**fresh_nats.options)
    assert (await client.jetstream().stream_info("KEPT")).state.messages == 1
    await client.close()


async def test_each_fresh_broker_is_empty(fresh_nats: Broker) -> None:
    client = await nats.connect(**fresh_nats.options)
    assert await client.jetstream().streams_info() == []
    await client.close()


def test_database_keeps_what_it_committed_over_a_kill(postgres_server: Database) -> None:
    with postgres_server.fresh() as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS n")

        before = postgres_server.pid
        postgres_server.kill()
        postgres_server.start()

        assert postgres_server.pid != before
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT n FROM kept").fetchall() == [(1,)]


def test_each_test_gets_an_empty_database(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert tables == (0,)


def test_database_restarts_cleanly(postgres_server: Database) -> None:
    postgres_server.restart()
    with psycopg.connect(postgres_server.dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


async def test_outside_broker_is_emptied_for_the_test_and_never_killed(fresh_nats: Broker) -> None:
    client = await nats.connect(**fresh_nats.options)
    await client.jetstream().add_stream(name="OLD", subjects=["old"])

    with empty_nats(
        {"RCLAUDE_NATS_URL": fresh_nats.url, "RCLAUDE_NATS_CREDENTIALS": str(fresh_nats.seed_file)}
    ) as same:
        assert same.url == fresh_nats.url
        assert await client.jetstream().streams_info() == []
        with pytest.raises(RuntimeError, match="not ours to kill"):
            same.kill()
    await client.close()


def test_outside_database_gives_fresh_databases(postgres_server: Database) -> None:
    with running_postgres({"RCLAUDE_POSTGRES_DSN": postgres_server.dsn}) as same:
        with same.fresh() as dsn, psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE mine ()")
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(dsn)
