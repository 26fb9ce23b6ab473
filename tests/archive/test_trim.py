"""The broker's log may begin later: nothing is missed, nothing can be written twice, and every view is the same."""

import asyncio
import os
from pathlib import Path
from typing import Any, ClassVar

import pytest
from psycopg import AsyncConnection
from sqlalchemy import MetaData

from archiving import Archive
from event_logs import JsonCodec, connect, happened
from projecting import TallyRow, TallyTables
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.jetstream.nats_client import Wire
from remote_claude.eventsourcing.jetstream.streams import (
    EVENTS,
    TrimInterrupted,
    ensure_log,
    ensure_log_streams,
)
from remote_claude.eventsourcing.log import ConcurrencyConflict, LogTrimmed
from remote_claude.eventsourcing.postgres.canonical_rows import digest
from remote_claude.eventsourcing.postgres.rebuild import rebuild
from remote_claude.eventsourcing.postgres.tables import load, upsert
from remote_claude.eventsourcing.tail import Tail
from remote_claude.eventsourcing.views import View
from remote_claude.runtime.archive.errors import ArchiveDamaged, ArchiveIncomplete
from remote_claude.runtime.archive.export import (
    ExportDamaged,
    ExportRefused,
    export,
    import_export,
    read_export,
)
from remote_claude.runtime.archive.history import ArchivedHistory
from remote_claude.runtime.archive.restore import restore
from remote_claude.runtime.archive.start import check
from remote_claude.runtime.archive.trim import Trimmed, TrimRefused, remove_limits, trim

INTACT: list[tuple[str, str, int, int]] = []
Event = tuple[int, str, str, bytes, bytes]


class Happenings(View):
    """What has happened to an aggregate, and in which order."""

    name, version = "test_happenings", 1
    tables: ClassVar[MetaData] = TallyTables.metadata
    handles = frozenset({"Happened"})

    async def apply(self, connection: AsyncConnection[Any], events: Any) -> None:
        rows = await load(connection, TallyRow, {event.stream for event in events})
        for event in events:
            row = rows.setdefault(event.stream, {"stream": event.stream, "count": 0, "total": 0, "last": 0})
            total = (row["total"] * 31 + len(event.event.what)) % 10**9
            row |= {"count": row["count"] + 1, "total": total, "last": event.position}
        await upsert(connection, TallyRow, rows.values())


def plain(events: list[RecordedEvent]) -> list[Event]:
    return [(e.position, e.stream, e.event_id, e.headers, e.data) for e in events]


async def read(log: JetStreamEventLog, **where: Any) -> list[Event]:
    return plain([e async for batch in log.read(**where) for e in batch])


async def trimmed(archive: Archive, to: int, backup: Path) -> Trimmed:
    """Trim as the command does, and open the log again as a process does that starts afterwards."""
    done = await trim(
        archive.log, archive.client, archive.pool, archive.heads, to=to, backup=backup, clock=archive.clock
    )
    await archive.log.go_back_to(ArchivedHistory(archive.pool, JsonCodec()))
    return done


async def aggregate(archive: Archive) -> tuple[str, list[RecordedEvent]]:
    """An aggregate with several events, and not the last of the log."""
    for stream in archive.at:
        history = await archive.log.read_stream(stream)
        if len(history) > 1 and history[-1].position < 40:
            return stream, history
    raise AssertionError


@pytest.fixture(params=["backup.jsonl", "backup.jsonl.gz"])
async def backup(archive: Archive, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path: Path = tmp_path / request.param
    assert (await export(archive.pool, path)).position == 40
    return path


async def test_after_a_trim_everything_is_read_as_before(archive: Archive, backup: Path) -> None:
    before, streams = await read(archive.log), sorted(archive.at)
    histories = {s: plain(await archive.log.read_stream(s)) for s in streams}
    ranges = [
        {"after": 10},
        {"after": 29},
        {"after": 30},
        {"after": 35},
        {"until": 20},
        {"after": 5, "until": 33},
    ]
    read_before = [await read(archive.log, **where) for where in ranges]
    wild = await read(archive.log, subjects="ev.gateway._.>")
    assert await trimmed(archive, 30, backup) == Trimmed(30, 31)
    assert await archive.log.bounds() == (31, 40)
    assert await read(archive.log) == before
    assert {s: plain(await archive.log.read_stream(s)) for s in streams} == histories
    assert [await read(archive.log, **where) for where in ranges] == read_before
    assert await read(archive.log, subjects="ev.gateway._.>") == wild
    assert await archive.found() == INTACT
    await check(archive.log, archive.pool)


async def test_after_a_trim_a_rebuild_is_the_same_byte_for_byte(archive: Archive, backup: Path) -> None:
    view = Happenings()
    await rebuild(view, archive.pool, archive.log)
    live = await digest(archive.pool, view.name)
    await trimmed(archive, 30, backup)
    result = await rebuild(view, archive.pool, archive.log)
    assert (result.equal, result.events) == (True, 40)
    assert await digest(archive.pool, view.name) == live


async def test_a_tail_that_begins_before_the_trim_goes_on_after_it(archive: Archive, backup: Path) -> None:
    before = await read(archive.log)
    await trimmed(archive, 30, backup)
    events: list[RecordedEvent] = []
    async with Tail(archive.log, after=12) as tail, asyncio.timeout(30):
        async for batch in tail.subscribe(after=3):
            events += batch
            if events[-1].position == 40:
                break
    assert plain(events) == before[3:]


async def test_a_trimmed_aggregate_keeps_its_guard(archive: Archive, backup: Path) -> None:
    stream, history = await aggregate(archive)
    last = history[-1].position
    await trimmed(archive, 39, backup)
    for stale in (0, history[0].position):
        with pytest.raises(ConcurrencyConflict) as refused:
            await archive.log.append(stream, [happened()], expected_position=stale)
        assert (refused.value.expected, refused.value.actual) == (stale, last)
    assert await archive.log.append(stream, [happened()], expected_position=last) == 41
    with pytest.raises(ConcurrencyConflict) as refused:
        await archive.log.append(stream, [happened()], expected_position=last)
    assert (refused.value.expected, refused.value.actual) == (last, 41)
    assert await archive.log.append(stream, [happened()], expected_position=41) == 42
    assert len(await archive.log.read_stream(stream)) == len(history) + 2


async def test_of_two_that_write_to_a_trimmed_aggregate_one_lands(archive: Archive, backup: Path) -> None:
    stream, last = min(archive.at.items(), key=lambda item: item[1])
    await trimmed(archive, 39, backup)
    other = JetStreamEventLog(await connect(archive.broker), JsonCodec())
    await other.go_back_to(ArchivedHistory(archive.pool, JsonCodec()))
    tries = [log.append(stream, [happened()], expected_position=last) for log in (archive.log, other) * 5]
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert [d for d in done if d == 41] == [41]
    assert sum(isinstance(d, ConcurrencyConflict) for d in done) == 9
    await other.close()


async def test_an_append_that_had_landed_before_the_trim_is_found(archive: Archive, backup: Path) -> None:
    stream, [*_, before, event] = await aggregate(archive)
    await trimmed(archive, 39, backup)
    again = happened(event.event.what, event_id=event.event_id)
    assert await archive.log.append(stream, [again], expected_position=before.position) == event.position
    assert (await archive.log.bounds())[1] == 40


async def test_a_new_aggregate_begins_at_0_as_ever(archive: Archive, backup: Path) -> None:
    await trimmed(archive, 30, backup)
    stream = "ev.gateway.org_1.task.new"
    assert await archive.log.append(stream, [happened(), happened()], expected_position=0) == 42
    assert await archive.log.append(stream, [happened()], expected_position=42) == 43


async def test_a_reader_without_the_archive_is_told_that_the_beginning_is_elsewhere(
    archive: Archive, backup: Path
) -> None:
    await trimmed(archive, 30, backup)
    bare = JetStreamEventLog(archive.client, JsonCodec())
    assert len(await read(bare, after=30)) == 10
    with pytest.raises(LogTrimmed, match="begins at 31"):
        await read(bare)


# What may be trimmed


async def test_only_what_is_archived_intact_and_backed_up_is_trimmed(
    archive: Archive, tmp_path: Path
) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    await export(archive.pool, whole)
    await export(archive.pool, part, until=20)
    await archive.fill(50)
    with pytest.raises(TrimRefused, match="at most 40 can be trimmed"):
        await trimmed(archive, 45, whole)
    with pytest.raises(TrimRefused, match="does not hold what the archive has from 1 to 30"):
        await trimmed(archive, 30, part)
    await export(archive.pool, tmp_path / "end", after=20)
    with pytest.raises(TrimRefused, match="does not hold what the archive has from 1 to 30"):
        await trimmed(archive, 30, tmp_path / "end")
    damaged = tmp_path / "damaged"
    damaged.write_text(whole.read_text().replace("ev.", "ew.", 1))
    with pytest.raises(ExportDamaged, match="at 40 is not what was exported"):
        await trimmed(archive, 30, damaged)
    damaged.write_text("\n".join(whole.read_text().splitlines()[:30]))
    with pytest.raises(ExportDamaged, match="it was cut"):
        await trimmed(archive, 20, damaged)
    await archive.copied()
    with pytest.raises(TrimRefused, match="at most 49"):
        await trimmed(archive, 50, whole)
    await archive.sql("UPDATE log.event SET data = 'x' WHERE position = 44")
    with pytest.raises(TrimRefused, match="archive: position 44 edited"):
        await trimmed(archive, 30, whole)
    assert await archive.log.bounds() == (1, 50)


async def test_any_damage_to_a_packed_export_is_named(archive: Archive, tmp_path: Path) -> None:
    file = tmp_path / "log.gz"
    await export(archive.pool, file)
    whole = file.read_bytes()
    # not in the name and the sum that gzip keeps beside: what was exported is whole then
    for at in (0, *range(40, len(whole) - 40, 7)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        with pytest.raises(ExportDamaged):
            list(read_export(file))


async def test_a_second_trim_needs_a_backup_of_what_it_drops_only(archive: Archive, tmp_path: Path) -> None:
    await export(archive.pool, tmp_path / "first", until=20)
    await trimmed(archive, 20, tmp_path / "first")
    await export(archive.pool, tmp_path / "second", after=20)
    assert await trimmed(archive, 35, tmp_path / "second") == Trimmed(15, 36)
    with pytest.raises(TrimRefused, match="begins at 36"):
        await trimmed(archive, 35, tmp_path / "second")
    with pytest.raises(ExportRefused, match="exists already"):
        await export(archive.pool, tmp_path / "second")
    assert await archive.found() == INTACT


async def test_a_trimmed_log_that_lost_its_tail_is_restored(archive: Archive, backup: Path) -> None:
    before = await read(archive.log)
    await trimmed(archive, 30, backup)
    messages = [(e[1], e[3], e[4]) for e in before]
    await archive.written_again(messages[30:34], first=31)
    assert (await restore(archive.log, archive.client, archive.pool, archive.heads)).events == 6
    assert (await archive.log.bounds(), await read(archive.log)) == ((31, 40), before)
    await archive.written_again([])
    assert (await restore(archive.log, archive.client, archive.pool, archive.heads)).events == 40
    assert await archive.found() == INTACT


async def test_what_nobody_trimmed_is_a_finding_on_a_trimmed_log_too(archive: Archive, backup: Path) -> None:
    await trimmed(archive, 20, backup)
    messages = [(e[1], e[3], e[4]) for e in await read(archive.log)]
    await archive.written_again(messages[25:], first=26)
    assert await archive.found() == [("broker", "cut", 21, 25)]


async def test_the_log_keeps_its_limits_even_when_a_trim_is_interrupted(
    archive: Archive, backup: Path
) -> None:
    config = (await archive.client.jetstream().stream_info(EVENTS)).config
    await trimmed(archive, 30, backup)
    assert (await archive.client.jetstream().stream_info(EVENTS)).config == config
    left = config.as_dict() | {"max_msgs": 5, "discard": "old"}
    await Wire.over(archive.client).api(f"STREAM.UPDATE.{EVENTS}", left)
    with pytest.raises(TrimInterrupted, match="log restore"):
        await ensure_log(archive.client)
    await remove_limits(archive.client)
    await ensure_log_streams(archive.client)


async def test_a_lost_archive_is_filled_from_the_exported_file(archive: Archive, backup: Path) -> None:
    before = await read(archive.log)
    await trimmed(archive, 30, backup)
    await archive.sql("DELETE FROM log.event WHERE position > 10")
    await archive.sql(
        "UPDATE log.checkpoint SET position = 10, hash = (SELECT hash FROM log.event WHERE position = 10)"
    )
    with pytest.raises(ArchiveIncomplete, match="begins after position 30, but the archive ends at 10"):
        await check(archive.log, archive.pool)
    assert await import_export(archive.pool, backup) == (30, 40, (await archive.head()).hash)
    assert await import_export(archive.pool, backup) == (0, 40, (await archive.head()).hash)
    assert (await read(archive.log), await archive.found()) == (before, INTACT)
    await archive.sql("DROP SCHEMA log CASCADE")
    await import_export(archive.pool, backup)
    assert await read(archive.log) == before


# What is no export, or not of this log


async def test_a_file_of_another_history_is_told_from_one_that_starts_too_late(
    archive: Archive, tmp_path: Path
) -> None:
    ours, late, other = (tmp_path / name for name in ("ours", "late", "other"))
    await export(archive.pool, ours)
    await export(archive.pool, late, after=30)
    await archive.sql("DROP SCHEMA log CASCADE")
    with pytest.raises(ExportRefused, match="begins at 31, after the archive's end at 0"):
        await import_export(archive.pool, late)
    messages = [(e[1], e[3], e[4]) for e in await read(archive.log)]
    await archive.written_again([*messages[:24], *reversed(messages[24:])])
    await archive.copied()
    await export(archive.pool, other)
    for file, at in ((ours, 25), (late, 30)):
        with pytest.raises(ExportRefused, match=f"another history: it contradicts the archive at {at}$"):
            await import_export(archive.pool, file)
    assert (await import_export(archive.pool, other)).events == 0


async def test_a_file_that_ends_within_the_archive_adds_nothing(archive: Archive, tmp_path: Path) -> None:
    await export(archive.pool, tmp_path / "part", until=20)
    assert await import_export(archive.pool, tmp_path / "part") == (0, *await archive.head())


@pytest.mark.parametrize("name", ["file", "file.gz"])
@pytest.mark.parametrize("content", [b"", b"hello\n", b"[1]\n", b"{}\n", b"\xff\xfe"])
def test_a_file_that_is_no_export_is_called_so(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ExportDamaged, match="is no export of a log"):
        list(read_export(tmp_path / name))


async def test_an_export_of_what_is_not_there_says_where_the_archive_ends(
    archive: Archive, tmp_path: Path
) -> None:
    with pytest.raises(ExportRefused, match=r"the archive ends at 40$"):
        await export(archive.pool, tmp_path / "file", after=98)
    await archive.sql("DROP SCHEMA log CASCADE")
    with pytest.raises(ExportRefused, match="nothing has been archived yet"):
        await export(archive.pool, tmp_path / "file")


DAMAGES = {
    "edited": "UPDATE log.event SET data = data || ' ' WHERE position = 25",
    "filed elsewhere": "UPDATE log.event SET subject = 'ev.gateway.org_2.task.task_1' WHERE position = 25",
    "missing": "DELETE FROM log.event WHERE position = 25",
    "given another hash": "UPDATE log.event SET hash = sha256(hash) WHERE position = 25",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_a_damaged_archive_is_not_exported(archive: Archive, tmp_path: Path, damage: str) -> None:
    """A file of it would be a whole chain over what nobody said."""
    await archive.sql(damage)
    with pytest.raises(ArchiveDamaged, match="position 25"):
        await export(archive.pool, tmp_path / "log.gz")
    assert "log.gz" not in os.listdir(tmp_path)
    assert (await export(archive.pool, tmp_path / "part", until=24)).position == 24


async def test_an_archive_that_lost_its_end_is_not_exported(archive: Archive, tmp_path: Path) -> None:
    await archive.sql("DELETE FROM log.event WHERE position > 30")
    with pytest.raises(ArchiveDamaged, match="position 31"):
        await export(archive.pool, tmp_path / "log")


@pytest.mark.parametrize("damage", list(DAMAGES.values())[:3], ids=list(DAMAGES)[:3])
async def test_an_import_says_that_the_archive_which_it_meets_is_damaged(
    archive: Archive, backup: Path, damage: str
) -> None:
    await archive.sql(damage)
    with pytest.raises(ArchiveDamaged, match="position 25"):
        await import_export(archive.pool, backup)
