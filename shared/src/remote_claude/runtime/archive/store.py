"""The archive in PostgreSQL: schema `log`, one row an event, with its hash."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from psycopg import AsyncConnection, sql

from remote_claude.eventsourcing.cloudevents import decode_event
from remote_claude.eventsourcing.errors import CheckpointMoved
from remote_claude.eventsourcing.events import Codec, RecordedEvent
from remote_claude.runtime.archive.chain import GENESIS, link

SCHEMA = "log"
PAGE = 1000
CHUNK = 100

# Texts in byte order, whatever the database's collation. Time rises with the position: a block range index is enough.
TABLES = """
CREATE SCHEMA log;
CREATE TABLE log.event (
    position bigint NOT NULL,
    subject text COLLATE "C" NOT NULL,
    organisation text COLLATE "C",
    type text COLLATE "C" NOT NULL,
    occurred_at text COLLATE "C" NOT NULL,
    headers bytea NOT NULL,
    data bytea NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (position)
);
CREATE INDEX event_by_subject ON log.event (subject, position);
CREATE INDEX event_by_organisation ON log.event (organisation, position) WHERE organisation IS NOT NULL;
CREATE INDEX event_by_type ON log.event (type, position);
CREATE INDEX event_by_time ON log.event USING brin (occurred_at);
CREATE TABLE log.trim (position bigint PRIMARY KEY, trimmed_at text NOT NULL, backup text NOT NULL);
CREATE TABLE log.checkpoint (position bigint NOT NULL, hash bytea NOT NULL);
"""

COLUMNS = "position, subject, organisation, type, occurred_at, headers, data, hash"
SELECT = f"SELECT {COLUMNS} FROM log.event"  # noqa: S608  # names of ours
COPY = f"COPY log.event ({COLUMNS}) FROM STDIN (FORMAT binary)"
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END = b"\xff\xff"
FIELDS = (8).to_bytes(2)
NULL = b"\xff\xff\xff\xff"


class Head(NamedTuple):
    """How far the archive goes, and the hash of its last event."""

    position: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """One archived event. `columns` are those that it is found by: organisation, type, time."""

    position: int
    subject: str
    columns: tuple[str | None, str, str]
    headers: bytes
    data: bytes
    hash: bytes


def columns_of(event: RecordedEvent) -> tuple[str | None, str, str]:
    """Organisation, type and time, as they are stored. PostgreSQL has no NUL in a text."""
    return event.organisation, event.type.replace("\0", ""), event.occurred_at.replace("\0", "")


def recorded(row: Row, codec: Codec | None = None) -> RecordedEvent:
    """The event that a row holds."""
    block = b"NATS/1.0\r\n" + row.headers + b"\r\n" if row.headers else b""
    return decode_event(row.position, row.subject, block, row.data, codec or _Sealed())


class _Sealed:
    """The codec of events whose payload is nobody's business here."""

    def encode(self, event: Any) -> tuple[str, int, bytes]:
        raise NotImplementedError

    def decode(self, type: str, version: int, data: bytes) -> Any:
        raise NotImplementedError


async def create(connection: AsyncConnection[Any]) -> None:
    """Make the schema, unless it is there. Safe against others who do the same."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('log/schema', 0))")
        if await read_head(connection) is None:
            await connection.execute(sql.SQL(cast(Any, TABLES)))
            await connection.execute("INSERT INTO log.checkpoint VALUES (0, %s)", [GENESIS])


async def read_head(connection: AsyncConnection[Any]) -> Head | None:
    """Where the archive's checkpoint says that it ends; None when there is no archive."""
    found = await connection.execute("SELECT to_regclass('log.checkpoint')::oid")
    row = await found.fetchone()
    if row is None or row[0] is None:
        return None
    found = await connection.execute("SELECT position, hash FROM log.checkpoint")
    row = await found.fetchone()
    return Head(row[0], bytes(row[1])) if row is not None else None


async def write(connection: AsyncConnection[Any], start: Head, events: Sequence[RecordedEvent]) -> Head:
    """Add what follows `start`, and move the checkpoint: one transaction. Returns the new head.

    Raises `CheckpointMoved` when somebody else has written meanwhile.
    """
    hashes = [start.hash]
    for event in events:
        hashes.append(link(hashes[-1], event.position, event.stream, event.headers, event.data))
    end = Head(events[-1].position, hashes.pop())
    async with connection.transaction():
        moved = await connection.execute(
            "UPDATE log.checkpoint SET position = %s, hash = %s WHERE position = %s AND hash = %s",
            [*end, *start],
        )
        if moved.rowcount != 1:
            raise CheckpointMoved(f"the archive does not end at {start.position}")
        async with connection.cursor() as cursor, cursor.copy(COPY) as copy:
            await copy.write(COPY_HEADER)
            for n in range(0, len(events), CHUNK):
                chunk = zip(events[n : n + CHUNK], [*hashes[1:], end.hash][n : n + CHUNK], strict=True)
                await copy.write(b"".join([_row(event, hash) for event, hash in chunk]))
            await copy.write(COPY_END)
    return end


def _row(event: RecordedEvent, hash: bytes) -> bytes:
    """One row as binary COPY has it: the number of fields, then each after its length."""
    texts = [None if text is None else text.encode() for text in (event.stream, *columns_of(event))]
    fields = [event.position.to_bytes(8), *texts, event.headers, event.data, hash]
    return FIELDS + b"".join([NULL if field is None else len(field).to_bytes(4) + field for field in fields])


async def read(
    connection: AsyncConnection[Any], *, after: int = 0, until: int | None = None, prefix: str = ""
) -> AsyncGenerator[list[Row], None]:
    """The rows after a position in order, in pages of bounded size; on a connection that is in a transaction.

    `prefix` leaves out subjects that do not begin with it.
    """
    query = f"{SELECT} WHERE position > %s AND position <= %s AND starts_with(subject, %s) ORDER BY position"
    async with connection.cursor(name="archive", binary=True) as cursor:
        await cursor.execute(cast(Any, query), [after, 2**62 if until is None else until, prefix])
        while page := await cursor.fetchmany(PAGE):
            yield [_read(row) for row in page]


async def read_row(connection: AsyncConnection[Any], position: int) -> Row | None:
    """One archived event, None where there is none."""
    found = await connection.execute(cast(Any, f"{SELECT} WHERE position = %s"), [position], binary=True)
    row = await found.fetchone()
    return _read(row) if row is not None else None


async def read_links(connection: AsyncConnection[Any], positions: Sequence[int]) -> list[tuple[Row, bytes]]:
    """The archived events at these positions in order, each with the hash of the event before it."""
    names = ", ".join(f"e.{name}" for name in COLUMNS.split(", "))
    query = (
        f"SELECT {names}, before.hash FROM log.event e"  # noqa: S608  # names of ours
        " LEFT JOIN log.event before ON before.position = e.position - 1"
        " WHERE e.position = ANY (%s) AND (before.hash IS NOT NULL OR e.position = 1) ORDER BY e.position"
    )
    found = await connection.execute(cast(Any, query), [list(positions)], binary=True)
    return [(_read(row[:-1]), row[-1] or GENESIS) for row in await found.fetchall()]


async def read_stream(connection: AsyncConnection[Any], subject: str, *, after: int, until: int) -> list[Row]:
    """The archived events of one aggregate in order."""
    query = f"{SELECT} WHERE subject = %s AND position > %s AND position <= %s ORDER BY position"
    found = await connection.execute(cast(Any, query), [subject, after, until], binary=True)
    return [_read(row) for row in await found.fetchall()]


async def last_of(connection: AsyncConnection[Any], subject: str, *, until: int) -> int:
    """The position of the last archived event of an aggregate, up to a position; 0 for none."""
    found = await connection.execute(
        "SELECT max(position) FROM log.event WHERE subject = %s AND position <= %s", [subject, until]
    )
    row = await found.fetchone()
    return (row[0] if row is not None else None) or 0


async def position_before(connection: AsyncConnection[Any], moment: str) -> int:
    """The position before the first event that occurred at or after a moment; the last one when there is none."""
    found = await connection.execute(
        "SELECT coalesce(min(position) - 1, (SELECT position FROM log.checkpoint)) FROM log.event "
        "WHERE occurred_at >= %s",
        [moment],
    )
    row = await found.fetchone()
    return int(row[0]) if row is not None else 0


async def read_trimmed(connection: AsyncConnection[Any]) -> int:
    """Up to where the log may have been trimmed off the broker, 0 for not at all."""
    row = await (await connection.execute("SELECT max(position) FROM log.trim")).fetchone()
    return (row[0] if row is not None else None) or 0


def _read(row: Any) -> Row:
    return Row(row[0], row[1], (row[2], row[3], row[4]), row[5], row[6], row[7])
