"""A broker's log is brought back from the archive at its positions, or left alone."""

import shutil

import pytest

from archiving import Archive, Message
from event_logs import happened
from remote_claude.eventsourcing.log import ConcurrencyConflict, LogIncomplete
from remote_claude.eventsourcing.tail import Tail
from remote_claude.runtime.archive.errors import (
    ArchiveEmpty,
    BrokerLostEvents,
    BrokerLostTail,
    LogContradictsArchive,
    LogInMaintenance,
    RolledBack,
)
from remote_claude.runtime.archive.restore import LostForGood, NotRestorable, Restored, restore
from remote_claude.runtime.archive.start import check, maintaining, working

INTACT: list[tuple[str, str, int, int]] = []
STREAM = "ev.gateway.org_1.task.task_1"


async def restored(archive: Archive, *, without_lost: bool = False) -> Restored:
    return await restore(archive.log, archive.client, archive.pool, archive.heads, without_lost=without_lost)


async def seen_by_a_view(archive: Archive, position: int) -> None:
    await archive.sql("CREATE SCHEMA test_view")
    await archive.sql("CREATE TABLE test_view.checkpoint (position bigint, version int)")
    await archive.sql("INSERT INTO test_view.checkpoint VALUES (%s, 1)", position)


@pytest.mark.parametrize("kept", [0, 1, 33, 40])
async def test_what_a_broker_lost_is_restored_byte_for_byte(archive: Archive, kept: int) -> None:
    messages = await archive.messages()
    await archive.written_again(messages[:kept])
    assert await restored(archive) == Restored(40 - kept, kept + 1, 40)
    assert await archive.messages() == messages
    assert await archive.found() == INTACT


async def test_a_log_with_holes_is_made_again_with_what_only_the_broker_has(archive: Archive) -> None:
    await archive.fill(50)
    messages = await archive.messages()
    holed: list[Message | None] = [*messages]
    holed[3] = holed[16] = holed[17] = None
    await archive.written_again(holed)
    with pytest.raises(LogIncomplete, match="positions 4 to 4"):
        await archive.messages()
    with pytest.raises(BrokerLostEvents, match="3 positions"):
        await check(archive.log, archive.pool)
    assert await restored(archive) == Restored(3, 4, 50)
    assert await archive.messages() == messages
    assert await archive.found() == INTACT
    await check(archive.log, archive.pool)


async def test_a_log_that_lost_its_beginning_is_made_again(archive: Archive) -> None:
    messages = await archive.messages()
    await archive.written_again(messages[10:], first=11)
    with pytest.raises(BrokerLostEvents, match="10 positions"):
        await check(archive.log, archive.pool)
    assert await restored(archive) == Restored(10, 1, 40)
    assert await archive.messages() == messages
    await check(archive.log, archive.pool)


async def test_an_empty_archive_is_said_with_what_fills_it(archive: Archive) -> None:
    await archive.sql("DROP SCHEMA log CASCADE")
    assert archive.heads.read()
    for messages in (await archive.messages(), []):  # the heads were kept; then the broker is empty too
        await archive.written_again(messages)
        with pytest.raises(ArchiveEmpty, match="`rclaude-admin log import FILE`"):
            await restored(archive)
        assert await archive.messages() == messages


async def test_what_nobody_has_is_not_made_up(archive: Archive) -> None:
    await archive.fill(50)
    messages = await archive.messages()
    holed: list[Message | None] = [*messages]
    holed[44] = holed[47] = None
    await archive.written_again(holed)
    with pytest.raises(
        LostForGood, match=r"positions 45 to 50 .*has position 45.*4 of them.*--without-lost.* end at 44"
    ):
        await restored(archive)
    assert await archive.log.bounds() == (1, 50)


async def test_a_log_goes_on_without_what_nobody_has_when_that_is_asked_for(archive: Archive) -> None:
    await archive.fill(50)
    messages = await archive.messages()
    holed: list[Message | None] = [*messages]
    holed[16] = holed[44] = holed[47] = None
    await archive.written_again(holed)
    assert await restored(archive, without_lost=True) == Restored(1, 17, 44, lost=50)
    assert await archive.messages() == messages[:44]
    assert await archive.found() == INTACT
    await check(archive.log, archive.pool)
    assert await restored(archive, without_lost=True) == Restored(0, 45, 44)


async def test_an_end_that_only_a_view_has_seen_is_lost_for_good(archive: Archive) -> None:
    await seen_by_a_view(archive, 43)
    await archive.written_again((await archive.messages())[:33])
    with pytest.raises(LostForGood, match=r"positions 41 to 43 .*test_view.*--without-lost"):
        await restored(archive)
    assert await archive.log.last_position() == 33
    done = await restored(archive, without_lost=True)
    assert done == Restored(7, 34, 40, lost=43, ahead=("test_view",))
    with pytest.raises(BrokerLostTail, match="the view test_view goes up to position 43"):
        await check(archive.log, archive.pool)


async def test_without_an_archive_a_log_goes_on_with_what_comes_before_a_hole(archive: Archive) -> None:
    await archive.sql("DROP SCHEMA log CASCADE")
    shutil.rmtree(archive.heads.folder)
    archive.heads.key_file.with_name("head_key.last").unlink()
    messages = await archive.messages()
    holed: list[Message | None] = [*messages]
    holed[35] = None
    await archive.written_again(holed)
    with pytest.raises(ArchiveEmpty, match="--without-lost"):
        await restored(archive)
    assert await restored(archive, without_lost=True) == Restored(0, 36, 35, lost=40)
    assert await archive.messages() == messages[:35]
    assert await archive.found() == INTACT
    await archive.written_again([])
    await archive.sql("DROP SCHEMA log CASCADE")
    with pytest.raises(ArchiveEmpty):
        await restored(archive, without_lost=True)


async def test_a_restored_log_is_guarded_and_goes_on_as_before(archive: Archive) -> None:
    await archive.written_again([])
    await restored(archive)
    stream, position = next(iter(archive.at.items()))
    with pytest.raises(ConcurrencyConflict):
        await archive.log.append(stream, [happened()], expected_position=0)
    assert await archive.log.append(stream, [happened()], expected_position=position) == 41
    await archive.copied()
    assert await archive.found() == INTACT


async def test_events_of_any_size_are_restored(archive: Archive) -> None:
    position = archive.at[STREAM]
    for n in range(40):
        position = await archive.log.append(
            STREAM, [happened(chr(97 + n % 26) * 200_000)], expected_position=position
        )
    await archive.copied()
    messages = await archive.messages()
    await archive.written_again(messages[:20])
    assert (await restored(archive)).events == 60
    assert await archive.messages() == messages


async def test_what_contradicts_the_archive_is_not_built_upon(archive: Archive) -> None:
    messages = await archive.messages()
    other: Message = (messages[32][0], messages[32][1], b'{"what": "else"}')
    await archive.written_again([*messages[:32], other])
    with pytest.raises(NotRestorable, match="broker: position 33 edited"):
        await restored(archive)
    assert await archive.messages() == [*messages[:32], other]


async def test_a_damaged_archive_is_not_restored_from(archive: Archive) -> None:
    messages = await archive.messages()
    await archive.written_again(messages[:20])
    await archive.sql("UPDATE log.event SET data = 'x' WHERE position = 30")
    with pytest.raises(NotRestorable, match="archive: position 30 edited"):
        await restored(archive)
    assert await archive.messages() == messages[:20]


async def test_a_restore_that_was_interrupted_goes_on(archive: Archive) -> None:
    messages = await archive.messages()
    await archive.written_again([])

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await restore(archive.log, archive.client, archive.pool, archive.heads, progress=interrupt)
    await restored(archive)
    assert await archive.messages() == messages


# Before services start


async def test_a_broker_that_lost_its_tail_is_refused_with_what_to_do(archive: Archive) -> None:
    await check(archive.log, archive.pool)
    await archive.written_again((await archive.messages())[:33])
    with pytest.raises(BrokerLostTail, match=r"goes up to position 40, but the log ends at 33.*log restore"):
        await check(archive.log, archive.pool)
    await restored(archive)
    await check(archive.log, archive.pool)


async def test_a_broker_behind_a_view_is_refused(archive: Archive) -> None:
    await seen_by_a_view(archive, 40)
    await check(archive.log, archive.pool)
    await archive.sql("UPDATE test_view.checkpoint SET position = 41")
    with pytest.raises(BrokerLostTail, match="the view test_view goes up to position 41"):
        await check(archive.log, archive.pool)


async def test_a_log_that_was_written_on_after_it_lost_its_tail_is_refused(archive: Archive) -> None:
    messages = await archive.messages()
    await archive.written_again([*messages[:39], *messages[:5]])
    with pytest.raises(LogContradictsArchive, match=r"at position 40.*log verify"):
        await check(archive.log, archive.pool)


async def test_nobody_maintains_a_log_that_is_worked_with_nor_the_other_way_round(archive: Archive) -> None:
    async with working(archive.pool), working(archive.pool):
        with pytest.raises(LogInMaintenance, match="stop every service"):
            async with maintaining(archive.pool, archive.log):
                pass
    async with maintaining(archive.pool, archive.log):
        with pytest.raises(LogInMaintenance, match="start again when that is done"):
            async with working(archive.pool):
                pass


async def test_a_process_that_still_reads_keeps_maintenance_away(archive: Archive) -> None:
    async with Tail(archive.log) as tail:
        await archive.fill(41)
        assert await tail.wait_for(41, 30)
        with pytest.raises(LogInMaintenance, match="1 readers follow"):
            async with maintaining(archive.pool, archive.log):
                pass


async def rolled_back(archive: Archive, to: int) -> None:
    """Older copies of broker and archive are put in place of what was signed since."""
    await archive.written_again((await archive.messages())[:to])
    await archive.sql("DELETE FROM log.event WHERE position > %s", to)
    last = "SELECT position, hash FROM log.event ORDER BY position DESC LIMIT 1"
    await archive.sql(f"UPDATE log.checkpoint SET (position, hash) = ({last})")


async def test_what_was_signed_and_nobody_has_any_more_is_lost_for_good(archive: Archive) -> None:
    await rolled_back(archive, 30)
    with pytest.raises(RolledBack, match=r"signed up to position 40, but .* end at 30"):
        await check(archive.log, archive.pool, archive.heads)
    with pytest.raises(LostForGood, match="positions 31 to 40 are lost"):
        await restored(archive)
    assert await restored(archive, without_lost=True) == Restored(0, 31, 30, lost=40)
    await check(archive.log, archive.pool, archive.heads)
    assert await archive.found() == INTACT
    await archive.fill(45)
    await archive.copied()
    archive.heads.sign(await archive.head(), "2026-03-02")
    assert await archive.found() == INTACT


async def test_an_older_copy_of_the_archive_alone_is_no_loss(archive: Archive) -> None:
    messages = await archive.messages()
    await rolled_back(archive, 30)
    await archive.written_again(messages)
    await check(archive.log, archive.pool, archive.heads)
    assert await restored(archive) == Restored(0, 41, 40)
    await archive.copied()
    assert await archive.found() == INTACT


async def test_heads_before_the_lost_end_still_vouch_for_what_is_left(archive: Archive) -> None:
    await archive.fill(60)
    await archive.copied()
    archive.heads.sign(await archive.head(), "2026-03-02")
    await rolled_back(archive, 50)
    assert (await restored(archive, without_lost=True)).lost == 60
    assert await archive.found() == INTACT
    await archive.sql("UPDATE log.event SET data = 'x' WHERE position = 25")
    assert ("archive", "edited", 25, 25) in await archive.found()
    assert [head.name for head in archive.heads.read()] == ["2026-03-01.json"]
