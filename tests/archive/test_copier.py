"""The copier: one writes, the others stand by, nothing is copied twice or left out."""

import asyncio

import pytest

from archiving import Archive
from projecting import eventually, running_work
from remote_claude.eventsourcing.errors import CheckpointMoved
from remote_claude.eventsourcing.tail import Tail
from remote_claude.runtime.archive import store
from remote_claude.runtime.archive.copier import Copier
from remote_claude.runtime.archive.store import Head

INTACT: list[tuple[str, str, int, int]] = []


async def test_the_second_copier_stands_by_and_takes_over(archive: Archive) -> None:
    async with Tail(archive.log) as tail:
        first, second = (Copier(archive.pool, tail, standby_interval=0.02) for _ in range(2))
        async with running_work(second.run()):
            async with running_work(first.run()):
                await eventually(lambda: {first.state, second.state} == {"live", "standby"})
                standby = first if first.state == "standby" else second
                await archive.fill(60)
                assert await standby.wait_for(60, 30)
                assert (standby.lag, standby.state) == (0, "standby")
            await archive.fill(80)
            await eventually(lambda: (second.position, second.state) == (80, "live"))
    assert await archive.found() == INTACT


async def test_a_position_of_the_archive_can_be_waited_for(archive: Archive) -> None:
    async with Tail(archive.log) as tail:
        copier = Copier(archive.pool, tail, standby_interval=0.02)
        assert not await copier.wait_for(40, 0)  # it has not begun
        async with running_work(copier.run()):
            assert await copier.wait_for(40, 30)
            waiting = [asyncio.create_task(copier.wait_for(n, 30)) for n in (45, 60)]
            assert not await copier.wait_for(41, 0)
            await archive.fill(50)
            assert await waiting[0]
            assert not waiting[1].done()
            await archive.fill(60)
            assert await waiting[1]
            assert (await archive.head()).position == 60


async def test_two_that_both_believe_to_hold_the_lock_write_once(archive: Archive) -> None:
    head = await archive.head()
    await archive.fill(50)
    events = [e async for batch in archive.log.read(after=40) for e in batch]
    async with archive.pool.connection() as one:
        await store.write(one, head, events)
    async with archive.pool.connection() as other:
        with pytest.raises(CheckpointMoved):
            await store.write(other, head, events)
    assert await archive.found() == INTACT


async def test_a_lost_connection_to_postgresql_costs_nothing(archive: Archive) -> None:
    async with Tail(archive.log) as tail:
        copier = Copier(archive.pool, tail, standby_interval=0.02)
        async with running_work(copier.run()):
            for last in (60, 80, 100):
                await archive.fill(last)
                await archive.sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                assert await copier.wait_for(last, 30)
    assert await archive.found() == INTACT


async def test_a_day_has_one_head_and_none_is_written_twice(archive: Archive) -> None:
    async with Tail(archive.log) as tail:
        async with running_work(Copier(archive.pool, tail, archive.heads).run()):
            archive.clock.now = archive.clock.now.replace(day=2)
            await archive.fill(45)
            await eventually(lambda: len(archive.heads.read()) == 2)
        await archive.heads.daily(Head(7, b"another"))
        archive.heads.sign(Head(7, b"another"), "2026-03-02")
    archive.heads.sign(await archive.head())
    assert [h.name for h in archive.heads.read()] == [
        "2026-03-01.json", "2026-03-02.json", "2026-03-02T120000.000000Z.json",
    ]  # fmt: skip
    assert all(40 <= h.position <= 45 for h in archive.heads.read())
    assert await archive.found() == INTACT
