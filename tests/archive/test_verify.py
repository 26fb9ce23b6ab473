"""Whatever is changed in broker, archive or heads is found and named."""

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from archiving import Archive, Message
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.runtime.archive.chain import GENESIS, link

INTACT: list[tuple[str, str, int, int]] = []


async def test_an_intact_log_has_no_findings(archive: Archive) -> None:
    assert await archive.found() == INTACT


async def test_the_chain_is_over_every_byte_of_every_event(archive: Archive) -> None:
    rows = await archive.sql("SELECT position, subject, headers, data, hash FROM log.event ORDER BY position")
    chain = GENESIS
    for position, subject, headers, data, stored in rows:
        parts = chain + position.to_bytes(8)
        for part in (subject.encode(), headers, data):
            parts += len(part).to_bytes(4) + part
        chain = sha256(parts).digest()
        assert stored == chain
    assert await archive.sql("SELECT position, hash FROM log.checkpoint") == [(40, chain)]


async def test_the_archive_finds_by_aggregate_organisation_type_and_time(archive: Archive) -> None:
    events = [e async for batch in archive.log.read() for e in batch]
    columns: tuple[tuple[str, Callable[[RecordedEvent], str | None]], ...] = (
        ("subject", lambda e: e.stream), ("organisation", lambda e: e.organisation),
        ("type", lambda e: e.type), ("occurred_at", lambda e: e.occurred_at),
    )  # fmt: skip
    for column, of in columns:
        for value in {of(e) for e in events} - {None}:
            found = await archive.sql(
                f"SELECT position FROM log.event WHERE {column} = %s ORDER BY position", value
            )
            assert [row[0] for row in found] == [e.position for e in events if of(e) == value]


async def test_events_that_wait_to_be_archived_are_no_finding(archive: Archive) -> None:
    await archive.fill(50)
    assert await archive.found() == INTACT


# The archive is changed


@pytest.mark.parametrize("column", ["subject", "headers", "data", "hash"])
async def test_an_edited_archive_is_named(archive: Archive, column: str) -> None:
    value = "ev.gateway.org_1.task.other" if column == "subject" else b"\r\n" + bytes(31)
    await archive.sql(f"UPDATE log.event SET {column} = %s WHERE position = 17", value)
    assert await archive.found() == [("archive", "edited", 17, 17)]


@pytest.mark.parametrize("column", ["organisation", "type", "occurred_at"])
async def test_an_event_filed_in_the_wrong_place_is_named(archive: Archive, column: str) -> None:
    await archive.sql(f"UPDATE log.event SET {column} = 'x' WHERE position = 17")
    assert await archive.found() == [("archive", "edited", 17, 17)]


async def test_what_the_archive_lacks_is_named(archive: Archive) -> None:
    await archive.sql("DELETE FROM log.event WHERE position IN (1, 8, 9, 40)")
    assert await archive.found() == [
        ("archive", "missing", 1, 1), ("archive", "missing", 8, 9), ("archive", "missing", 40, 40),
    ]  # fmt: skip


SWAP = "UPDATE log.event t SET {} FROM log.event f WHERE (t.position, f.position) IN ((12, 30), (30, 12))"


@pytest.mark.parametrize("columns", ["subject headers data organisation type occurred_at", "all"])
async def test_a_reordered_archive_is_named(archive: Archive, columns: str) -> None:
    if columns == "all":
        columns = "subject headers data organisation type occurred_at hash"
    await archive.sql(SWAP.format(", ".join(f"{c} = f.{c}" for c in columns.split())))
    assert await archive.found() == [("archive", "reordered", 12, 12), ("archive", "reordered", 30, 30)]


async def test_a_tail_cut_off_the_archive_and_its_checkpoint_is_told_by_the_head(archive: Archive) -> None:
    await archive.sql("DELETE FROM log.event WHERE position > 35")
    await archive.sql(
        "UPDATE log.checkpoint SET position = 35, hash = (SELECT hash FROM log.event WHERE position = 35)"
    )
    assert await archive.found() == [("archive", "cut", 36, 40)]


async def test_an_edited_checkpoint_is_named(archive: Archive) -> None:
    await archive.sql("UPDATE log.checkpoint SET hash = %s", bytes(32))
    assert await archive.found() == [("archive", "edited", 40, 40)]


async def rehash(archive: Archive) -> None:
    """What somebody does who knows how the chain is made."""
    chain = GENESIS
    for position, subject, headers, data in await archive.sql(
        "SELECT position, subject, headers, data FROM log.event ORDER BY position"
    ):
        chain = link(chain, position, subject, headers, data)
        await archive.sql("UPDATE log.event SET hash = %s WHERE position = %s", chain, position)
    await archive.sql("UPDATE log.checkpoint SET hash = %s", chain)


async def test_a_chain_made_again_is_told_by_the_signed_head(archive: Archive) -> None:
    await archive.sql("UPDATE log.event SET data = %s WHERE position = 17", b'{"what": "else"}')
    await rehash(archive)
    assert await archive.found() == [("archive", "contradicted", 1, 40), ("archive", "edited", 17, 17)]


async def test_broker_and_archive_changed_alike_are_told_by_the_signed_head(archive: Archive) -> None:
    messages = await archive.messages()
    messages[16] = (*messages[16][:2], b'{"what": "else"}')
    await archive.written_again(messages)
    await archive.sql("UPDATE log.event SET data = %s WHERE position = 17", b'{"what": "else"}')
    await rehash(archive)
    assert await archive.found() == [("archive", "contradicted", 1, 40), ("broker", "contradicted", 1, 40)]


# The broker is changed


def edited(messages: list[Message]) -> list[Message | None]:
    return [*messages[:16], (messages[16][0], messages[16][1], b'{"what": "else"}'), *messages[17:]]


def swapped(messages: list[Message]) -> list[Message | None]:
    return [*messages[:11], messages[29], *messages[12:29], messages[11], *messages[30:]]


def holed(messages: list[Message]) -> list[Message | None]:
    return [*messages[:16], None, None, *messages[18:]]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (edited, [("broker", "edited", 17, 17)]),
        (swapped, [("broker", "reordered", 12, 12), ("broker", "reordered", 30, 30)]),
        (holed, [("broker", "missing", 17, 18)]),
        (lambda messages: messages[:33], [("broker", "cut", 34, 40)]),
        (lambda messages: [], [("broker", "cut", 1, 40)]),
    ],
    ids=["edited", "reordered", "gap", "lost tail", "empty"],
)
async def test_a_changed_broker_is_named(archive: Archive, change: Any, found: Any) -> None:
    await archive.written_again(change(await archive.messages()))
    assert await archive.found() == found


async def test_a_broker_that_lost_its_beginning_is_named(archive: Archive) -> None:
    await archive.written_again((await archive.messages())[10:], first=11)
    assert await archive.found() == [("broker", "cut", 1, 10)]


# The heads are changed


async def test_a_head_that_was_written_again_is_named(archive: Archive) -> None:
    [file] = archive.heads.folder.glob("*.json")
    said = json.loads(file.read_text())
    file.chmod(0o600)
    file.write_text(json.dumps(said | {"hash": "00" * 32}))
    assert await archive.found() == [("heads", "edited", 40, 40)]
    file.write_text("{")
    assert await archive.found() == [("heads", "edited", 0, 0)]


async def test_every_difference_of_many_is_named(archive: Archive) -> None:
    await archive.sql("UPDATE log.event SET data = 'x' WHERE position %% 2 = 0")
    assert await archive.found() == [("archive", "edited", n, n) for n in range(2, 41, 2)]
