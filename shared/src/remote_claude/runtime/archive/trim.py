"""Drops the beginning of the broker's log, once it is archived, verified and backed up. Positions never change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from remote_claude.eventsourcing.events import Clock, timestamp
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.jetstream.nats_client import Wire
from remote_claude.eventsourcing.jetstream.streams import EVENTS
from remote_claude.eventsourcing.log import AppendRefused
from remote_claude.eventsourcing.postgres.schemas import Pool, connect
from remote_claude.runtime.archive import store
from remote_claude.runtime.archive.chain import GENESIS
from remote_claude.runtime.archive.errors import ArchiveError
from remote_claude.runtime.archive.export import read_export
from remote_claude.runtime.archive.heads import Heads
from remote_claude.runtime.archive.verify import verify

TIMEOUT = 120.0
WHOLE = {"max_msgs": -1, "discard": "new"}
"""What keeps the log whole, and is set aside for the moment of trimming."""


class TrimRefused(ArchiveError):
    """Not everything that would be dropped is in a good archive and in a backup; nothing was changed."""

    code = "trim_refused"


@dataclass(frozen=True, slots=True)
class Trimmed:
    """`events` were dropped; the broker's log begins at `first`."""

    events: int
    first: int


async def trim(
    log: JetStreamEventLog,
    client: Client,
    pool: Pool,
    heads: Heads,
    *,
    to: int,
    backup: Path,
    clock: Clock,
    progress: Callable[[int, int], None] | None = None,
) -> Trimmed:
    """Drop everything up to `to` from the broker. The caller sees to it that nobody else reads or writes.

    `backup` is a file of `log export` that covers what is dropped. The archive's end is signed before.
    Raises `TrimRefused`, `ExportDamaged`, `OSError`.
    """
    report = await verify(log, pool, heads, progress=progress)
    first, last = report.broker
    if report.findings:
        raise TrimRefused(f"broker and archive are not intact\n{report.summary()}")
    if to < first:
        raise TrimRefused(f"the broker's log begins at {first}: nothing up to {to} is left to trim")
    if to > report.archive[1] or to >= last:
        most = min(report.archive[1], last - 1)
        raise TrimRefused(f"at most {most} can be trimmed: it must be archived, and the last event stays")
    async with connect(pool, store.SCHEMA) as connection:
        before, end = await store.read_row(connection, first - 1), await store.read_row(connection, to)
        head = await store.read_head(connection)
        assert end is not None
        assert head is not None
        hashes = {
            item.position: item.hash for item in read_export(backup) if item.position in (first - 1, to)
        }
        if (hashes.get(first - 1), hashes.get(to)) != (before.hash if before else GENESIS, end.hash):
            raise TrimRefused(
                f"{backup} does not hold what the archive has from {first} to {to}: "
                f"`rclaude-admin log export FILE` writes one that does"
            )
        heads.sign(head)
        await connection.execute("SET synchronous_commit = on")
        await connection.execute(
            "INSERT INTO log.trim VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            [to, timestamp(clock()), str(backup)],
        )
    await configure(client, {"max_msgs": last - to, "discard": "old"})
    await remove_limits(client)
    if (bounds := await log.bounds()) != (to + 1, last):
        raise TrimRefused(
            f"the broker's log now goes from {bounds[0]} to {bounds[1]}, not from {to + 1} to {last}"
        )
    return Trimmed(to + 1 - first, to + 1)


async def remove_limits(client: Client) -> None:
    """Take every limit off the log's stream, so that nothing is dropped. A trim that was interrupted may have left one."""
    answer = await Wire.over(client).api(f"STREAM.INFO.{EVENTS}")
    config = answer.get("config", WHOLE)
    if {name: config[name] for name in WHOLE} != WHOLE:
        await configure(client, WHOLE)


async def configure(client: Client, changes: dict[str, Any]) -> None:
    """Change the configuration of the log's stream."""
    wire = Wire.over(client)
    found = await wire.api(f"STREAM.INFO.{EVENTS}")
    answer = await wire.api(f"STREAM.UPDATE.{EVENTS}", {**found["config"], **changes}, timeout=TIMEOUT)
    if "error" in answer:
        raise AppendRefused(
            f"the broker does not let the log be trimmed: {answer['error'].get('description')}"
        )
