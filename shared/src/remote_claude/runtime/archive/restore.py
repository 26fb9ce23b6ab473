"""Brings a broker's log back from the archive: every event at its position, byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from uuid import uuid4

from nats.aio.client import Client

from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.jetstream.append_answers import Answer, Landed, read_answer
from remote_claude.eventsourcing.jetstream.nats_client import Wire
from remote_claude.eventsourcing.jetstream.ordered_consumer import check_whole
from remote_claude.eventsourcing.jetstream.streams import EVENTS, ensure_stream, events_config
from remote_claude.eventsourcing.log import MAX_BATCH_BYTES, LogIncomplete
from remote_claude.eventsourcing.message_frames import publish_frame
from remote_claude.eventsourcing.postgres.schemas import Pool, connect
from remote_claude.runtime.archive import store
from remote_claude.runtime.archive.chain import GENESIS
from remote_claude.runtime.archive.errors import ArchiveEmpty, ArchiveError
from remote_claude.runtime.archive.findings import ArchiveReport
from remote_claude.runtime.archive.heads import Heads
from remote_claude.runtime.archive.start import read_views
from remote_claude.runtime.archive.store import Head, Row
from remote_claude.runtime.archive.verify import verify

BATCH = 500
TIMEOUT = 30.0


class NotRestorable(ArchiveError):
    """Broker and archive contradict each other, so that adding to the one from the other would hide it."""

    code = "log_not_restorable"

    def __init__(self, report: ArchiveReport) -> None:
        super().__init__(
            "the log is restored only from an intact archive that has all that is missing and contradicts nothing; "
            "nothing was changed. Restore PostgreSQL from a backup, or the broker, whichever is the damaged one.\n"
            + report.summary()
        )
        self.report = report


class LostForGood(ArchiveError):
    """Neither broker nor archive has what the log goes on to: going on without it has to be asked for."""

    code = "log_lost_for_good"

    def __init__(self, end: int, last: int, held: int, ahead: Sequence[str]) -> None:
        parts = [f"positions {end + 1} to {last} are lost: neither broker nor archive has position {end + 1}"]
        if held:
            parts.append(f"The broker still has {held} of them, but nothing is read past a hole")
        if ahead:
            parts.append(f"Views that had applied some of them: {', '.join(ahead)}")
        super().__init__(
            f"{'. '.join(parts)}. Nothing was changed. If a backup goes further, bring that back (`pg_restore` a dump, "
            "`rclaude-admin log import` an export) and try again; if none does, `rclaude-admin log restore "
            f"--without-lost` gives these positions up for good, makes the log end at {end}, and rebuilds the views "
            "that are ahead of it"
        )
        self.end, self.last = end, last


class OtherReplicas(ArchiveError):
    """What one replica of the log lacks, another may have."""

    code = "log_replicated"

    def __init__(self, replicas: int, position: int) -> None:
        super().__init__(
            f"the log has {replicas} replicas, and only one of them was read: another may have position {position}. Take the "
            "files of the one that is damaged away while it is down, and it copies the log from the others. If all are: "
            f"make it one replica (`nats stream edit {EVENTS} --replicas 1`), and try again. Nothing was changed"
        )


class RestoreFailed(ArchiveError):
    """The broker did not take an event at its position. What was restored before stays and is right; try again."""

    code = "log_restore_failed"


@dataclass(frozen=True, slots=True)
class Restored:
    """`events` from position `first` to `last` were missing and are back; 0 where nothing was.

    What came after `last`, up to position `lost`, is given up for good; 0 for nothing. The views `ahead` had applied
    some of that, and have to be rebuilt.
    """

    events: int
    first: int
    last: int
    lost: int = 0
    ahead: tuple[str, ...] = ()


async def restore(
    log: JetStreamEventLog,
    client: Client,
    pool: Pool,
    heads: Heads,
    *,
    without_lost: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Restored:
    """Bring back what the broker's log lacks. Everything is verified before anything is written.

    The stream is deleted and created again, once the archive has it all: a broker whose files are damaged may acknowledge what is
    written on from there, and not keep it.
    `without_lost` makes the log end before what nobody has; what comes after that could not be read, and goes too.
    The caller sees to it that nobody else writes. Raises `ArchiveEmpty`, `NotRestorable`, `LostForGood`,
    `OtherReplicas`, `RestoreFailed`, `LogUnavailable`.
    """
    report = await verify(log, pool, heads)
    lost = [f for f in report.findings if f.side == "broker" and f.kind in ("cut", "missing")]
    signed = [f for f in report.findings if f.side == "archive" and f.kind == "cut"]
    (first, last), archived = report.broker, report.archive[1]
    if not archived and (not last or (report.findings and not without_lost)):
        raise ArchiveEmpty
    if report.more or len(report.findings) > len(lost) + len(signed):
        raise NotRestorable(report)
    reach = max(last, archived)
    nobodys = sorted(
        [max(f.first, archived + 1) for f in lost if f.last > archived]
        + [reach + 1 for f in signed if f.last > reach]
    )
    end = nobodys[0] - 1 if nobodys else reach
    if not end:
        raise ArchiveEmpty
    async with connect(pool, store.SCHEMA) as connection:
        ahead = {view: at for view, at in (await read_views(connection)).items() if at > end}
    given_up = max([reach, *ahead.values(), *(f.last for f in signed)]) if nobodys or ahead else 0
    if given_up and not without_lost:
        missing = sum(f.last - max(f.first, end + 1) + 1 for f in lost if f.last > end)
        raise LostForGood(end, given_up, max(0, last - end - missing), sorted(ahead))
    if given_up and (replicas := await _replicas(client)) > 1:
        raise OtherReplicas(replicas, end + 1)
    back = [(f.first, min(f.last, end)) for f in lost if f.first <= end]
    if lost:
        await _complete_archive(log, pool, min(last, end))
        first = min(first, lost[0].first)
        await _make_again(client, first)
        last = first - 1
    wire = Wire.over(client)
    async with (
        connect(pool, store.SCHEMA) as connection,
        connection.transaction(),
        aclosing(store.read(connection, after=last, until=end)) as pages,
    ):
        async for page in pages:
            for batch in _batches(page):
                await append_batch(wire, batch)
                if progress is not None:
                    progress(batch[-1].position, end)
    if given_up and signed:
        heads.give_up(end)
    events = sum(until - first + 1 for first, until in back)
    return Restored(events, back[0][0] if back else end + 1, end, given_up, tuple(sorted(ahead)))


async def _replicas(client: Client) -> int:
    info = await client.jetstream().stream_info(EVENTS)
    return info.config.num_replicas or 1


async def _complete_archive(log: JetStreamEventLog, pool: Pool, end: int) -> None:
    """Archive what only the broker has up to `end`, and see all of the archive to the disk. Raises `LogIncomplete`."""
    async with connect(pool, store.SCHEMA) as connection:
        await connection.execute("SET synchronous_commit = on")
        head = await store.read_head(connection) or Head(0, GENESIS)
        async with aclosing(log.read_broker(after=head.position, until=end)) as batches:
            async for events in batches:
                check_whole(head.position, events)
                head = await store.write(connection, head, events)
        if head.position < end:
            raise LogIncomplete(f"positions {head.position + 1} to {end}")
        await connection.execute("UPDATE log.checkpoint SET position = position")


async def _make_again(client: Client, first: int) -> None:
    """The log's stream, empty; `first` comes next. An administrator who is interrupted here goes on with an empty one."""
    js = client.jetstream()
    replicas = (await js.stream_info(EVENTS)).config.num_replicas or 1
    await js.delete_stream(EVENTS)
    await ensure_stream(client, events_config(replicas=replicas).evolve(first_seq=first))


def _batches(rows: Sequence[Row]) -> list[list[Row]]:
    """Parts that fit into one atomic batch each."""
    batches: list[list[Row]] = []
    size = 0
    for row in rows:
        size += len(row.headers) + len(row.data)
        if not batches or len(batches[-1]) == BATCH or size > MAX_BATCH_BYTES:
            batches.append([])
            size = len(row.headers) + len(row.data)
        batches[-1].append(row)
    return batches


async def append_batch(wire: Wire, rows: Sequence[Row]) -> None:
    """One atomic batch, which the broker takes at these positions or not at all."""
    name, frames = uuid4().hex, []
    answers: list[Answer] = []
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def receive(headers: bytes, data: bytes) -> None:
        if not done.done():
            answers.append(read_answer(headers, data))
            done.set_result(True)

    await wire.open()
    reply = wire.expect(receive)
    try:
        for n, row in enumerate(rows, 1):
            place = f"Nats-Batch-Id: {name}\r\nNats-Batch-Sequence: {n}\r\n"
            if n == 1:
                place += f"Nats-Expected-Last-Sequence: {row.position - 1}\r\n"
            if n == len(rows):
                place += "Nats-Batch-Commit: 1\r\n"
            frames.append(
                publish_frame(
                    row.subject, reply if n == len(rows) else "", place.encode() + row.headers, row.data
                )
            )
        epoch = wire.epoch
        await wire.send(b"".join(frames))
        await wire.arrives(done, epoch, TIMEOUT)
    finally:
        wire.forget(reply)
    if answers != [Landed(rows[-1].position)]:
        raise RestoreFailed(
            f"positions {rows[0].position} to {rows[-1].position} were not taken: {answers or 'no answer'}. "
            "What was restored before stays and is right: see that nobody else writes, and try again"
        )
