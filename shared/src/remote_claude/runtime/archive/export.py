"""The archive in a file, with its chain: a backup that is checked line by line, wherever it lies.

A line of JSON says where it begins, `{"log", "after", "hash"}`; then there is one an event, `{"position", "subject",
"headers", "data"}`, the last two in base64; the last line is `{"until", "hash"}`. Gzipped if the name ends in `.gz`.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from psycopg import AsyncConnection

from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.schemas import Pool, connect
from remote_claude.runtime.archive import store
from remote_claude.runtime.archive.chain import GENESIS, link
from remote_claude.runtime.archive.errors import ArchiveDamaged, ArchiveError
from remote_claude.runtime.archive.store import Head, Row
from remote_claude.runtime.durable_files import sync_folder

LOG = "remote-claude/log/1"


class ExportDamaged(ArchiveError):
    """The file is not one that `log export` has written, or not all of it, or not as it was."""

    code = "export_damaged"


class ExportRefused(ArchiveError):
    """There is nothing to export, or a file of this name is there already, or the archive doesn't go on from there."""

    code = "export_refused"


async def export(
    pool: Pool,
    path: Path,
    *,
    after: int = 0,
    until: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Head:
    """Write what is archived after a position. Returns where the file ends.

    Raises `ExportRefused`, `ArchiveDamaged` where the archive's own chain breaks, `OSError`; there is no file then.
    """
    async with connect(pool, store.SCHEMA) as connection, connection.transaction():
        head = await store.read_head(connection) or Head(0, GENESIS)
        end = head.position if until is None else min(until, head.position)
        first = await store.read_row(connection, after) if after else None
        if not head.position:
            raise ExportRefused("nothing has been archived yet")
        if after >= head.position:
            raise ExportRefused(f"the archive ends at {head.position}")
        if after >= end or (after and first is None):
            raise ExportRefused(f"nothing is archived between {after + 1} and {end}")
        at = Head(after, first.hash if first is not None else GENESIS)
        with _written(path) as file:
            file.write(json.dumps({"log": LOG, "after": after, "hash": at.hash.hex()}) + "\n")
            async with aclosing(store.read(connection, after=after, until=end)) as pages:
                async for page in pages:
                    for row in page:
                        at = _follows(at, row)
                        file.write(_line(row))
                    if progress is not None:
                        progress(page[-1].position, end)
            if at != (end, head.hash if end == head.position else at.hash):
                raise ArchiveDamaged(at.position + 1 if at.position < end else end)
            file.write(json.dumps({"until": end, "hash": at.hash.hex()}) + "\n")
    return at


def _follows(at: Head, row: Row) -> Head:
    """The chain up to a row. Raises `ArchiveDamaged` where it does not say so itself."""
    here = Head(at.position + 1, link(at.hash, at.position + 1, row.subject, row.headers, row.data))
    if here != (row.position, row.hash):
        raise ArchiveDamaged(here.position)
    return here


class End(Head):
    """Where a file ends."""


def read_export(path: Path) -> Iterator[Row | Head]:
    """The head that a file goes on from, its events, each with its hash, and its `End`. Raises `ExportDamaged`, `OSError`."""
    at: Head | None = None
    try:
        with _opened(path, "rt") as file:
            begin = json.loads(file.readline())
            if begin.get("log") != LOG:
                raise ExportDamaged(f"{path} is no export of a log")
            at = Head(begin["after"], bytes.fromhex(begin["hash"]))
            yield at
            for line in file:
                entry = json.loads(line)
                if "until" in entry:
                    if (entry["until"], entry["hash"]) != (at.position, at.hash.hex()):
                        raise ExportDamaged(f"{path}: the event at {at.position} is not what was exported")
                    yield End(*at)
                    return
                if entry["position"] != at.position + 1:
                    raise ExportDamaged(f"{path}: position {entry['position']} follows {at.position}")
                headers, data = b64decode(entry["headers"]), b64decode(entry["data"])
                at = Head(at.position + 1, link(at.hash, at.position + 1, entry["subject"], headers, data))
                yield Row(at.position, entry["subject"], (None, "", ""), headers, data, at.hash)
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        if at is None:
            raise ExportDamaged(f"{path} is no export of a log, or its beginning is damaged") from error
        raise ExportDamaged(f"{path} can't be read after position {at.position}: {error!r}") from error
    raise ExportDamaged(f"{path} ends at {at.position} without its last line: it was cut")


class Imported(NamedTuple):
    """So many events were added to an archive that now ends at `last`, with this hash."""

    events: int
    last: int
    hash: bytes


async def import_export(
    pool: Pool, path: Path, *, progress: Callable[[int, int], None] | None = None
) -> Imported:
    """Add what a file has to the archive that ends before it, or within it.

    Raises `ExportRefused` where the two do not meet, `ExportDamaged` (nothing of the rest is added), `ArchiveDamaged`
    where the archive lacks what it has signed for, `OSError`.
    """
    async with connect(pool, store.SCHEMA) as connection:
        await store.create(connection)
        before = head = await store.read_head(connection) or Head(0, GENESIS)
        await _check_goes_on(connection, path, head)
        events: list[RecordedEvent] = []
        for item in read_export(path):
            if isinstance(item, Row) and item.position > head.position:
                events.append(store.recorded(item))
            if len(events) == store.PAGE or (isinstance(item, End) and events):
                head = await store.write(connection, head, events)
                events = []
                if progress is not None:
                    progress(head.position, head.position)
    return Imported(head.position - before.position, *head)


async def _check_goes_on(connection: AsyncConnection[Any], path: Path, head: Head) -> None:
    """All of the file is right, and where archive and file overlap they are the same; before any of it is taken."""
    begin = shared = None
    for item in read_export(path):
        begin = begin or item
        if item.position <= head.position:
            shared = item
    assert begin is not None
    if shared is None:
        raise ExportRefused(
            f"{path} begins at {begin.position + 1}, after the archive's end at {head.position}: "
            "import what comes before first"
        )
    parting = await _parting(connection, path, shared.position)
    if parting is None:
        return
    if await _hash_at(connection, shared.position) in (None, shared.hash):
        raise ArchiveDamaged(parting)
    raise ExportRefused(f"{path} is of another history: it contradicts the archive at {parting}")


async def _hash_at(connection: AsyncConnection[Any], position: int) -> bytes | None:
    """The archive's chain up to a position; None where it has no such row."""
    if not position:
        return GENESIS
    row = await store.read_row(connection, position)
    return row.hash if row is not None else None


async def _parting(connection: AsyncConnection[Any], path: Path, until: int) -> int | None:
    """The first position up to `until` at which archive and file hold different things."""
    items = read_export(path)
    begin = next(items)
    if begin.hash != await _hash_at(connection, begin.position):
        return begin.position
    async with (
        connection.transaction(),
        aclosing(store.read(connection, after=begin.position, until=until)) as pages,
    ):
        at = begin.position
        rows = (item for item in items if isinstance(item, Row))
        async for page in pages:
            for kept, row in zip(page, rows, strict=False):
                at = row.position
                if replace(kept, columns=row.columns) != row:
                    return at
    return at + 1 if at < until else None


def _line(row: Row) -> str:
    return (
        json.dumps(
            {
                "position": row.position,
                "subject": row.subject,
                "headers": b64encode(row.headers).decode(),
                "data": b64encode(row.data).decode(),
            }
        )
        + "\n"
    )


@contextmanager
def _written(path: Path) -> Iterator[IO[str]]:
    """A file that is there whole and synced, or not at all."""
    if path.exists():
        raise ExportRefused(f"{path} exists already: choose another name")
    staged = path.with_name(f"{path.name}.part")
    try:
        with _opened(staged, "wt", like=path) as file:
            yield file
        with staged.open("rb") as file:
            os.fsync(file.fileno())
        staged.rename(path)
        sync_folder(path.parent)
    finally:
        staged.unlink(missing_ok=True)


def _opened(path: Path, mode: str, like: Path | None = None) -> IO[str]:
    zipped = (like or path).suffix == ".gz"
    return cast(IO[str], gzip.open(path, mode, 3) if zipped else path.open(mode))
