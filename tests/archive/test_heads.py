"""A signed head can't be taken away: the next one says that it was there, and the last one is noted beside the key."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from archiving import Archive, Days
from projecting import eventually, running_work
from remote_claude.eventsourcing.postgres.projector import ProjectorState as State
from remote_claude.eventsourcing.tail import Tail
from remote_claude.runtime.archive import signer
from remote_claude.runtime.archive.chain import GENESIS, link
from remote_claude.runtime.archive.copier import Copier
from remote_claude.runtime.archive.errors import HeadsOfAnotherKey
from remote_claude.runtime.archive.heads import Heads
from remote_claude.runtime.archive.store import Head
from remote_claude.runtime.archive.verify import verify

INTACT: list[tuple[str, str, int, int]] = []


@pytest.fixture
async def days(archive: Archive) -> Archive:
    """Four days, each with its head at the day's begin: positions 40, 50, 50 (nothing happened), 60."""
    for day, events in ((2, 50), (3, 50), (4, 60)):
        archive.clock.now = archive.clock.now.replace(day=day)
        await archive.fill(events)
        await archive.copied()
        await archive.heads.daily(await archive.head())
    return archive


def remove(archive: Archive, *on: int) -> None:
    for day in on:
        (archive.heads.folder / f"2026-03-0{day}.json").unlink()


async def told(archive: Archive) -> list[str]:
    return [gone.detail for gone in archive.heads.missing(archive.heads.read())]


async def test_days_with_and_without_events_have_their_heads_and_nothing_is_missing(days: Archive) -> None:
    assert [(h.name, h.position, h.number) for h in days.heads.read()] == [
        ("2026-03-01.json", 40, 1), ("2026-03-02.json", 50, 2), ("2026-03-03.json", 50, 3), ("2026-03-04.json", 60, 4),
    ]  # fmt: skip
    assert await days.found() == INTACT


@pytest.mark.parametrize(
    ("gone", "found", "said"),
    [
        ((1,), (1, 50), "2026-03-01.json, signed before 2026-03-02.json, is not there"),
        ((2,), (41, 50), "2026-03-02.json, signed before 2026-03-03.json, is not there"),
        ((3,), (51, 60), "2026-03-03.json, signed before 2026-03-04.json, is not there"),
        ((4,), (51, 60), "2026-03-04.json, signed last, is not there"),
        ((2, 3), (41, 60), "2026-03-03.json and 1 before it, signed before 2026-03-04.json, is not there"),
        ((1, 2, 3, 4), (1, 60), "2026-03-04.json and 3 before it, signed last, is not there"),
    ],
)
async def test_a_head_that_is_gone_is_named(
    days: Archive, gone: tuple[int, ...], found: tuple[int, int], said: str
) -> None:
    remove(days, *gone)
    assert await days.found() == [("heads", "missing", *found)]
    assert await told(days) == [said]


async def test_who_edits_the_archive_and_removes_that_days_head_is_found_out(days: Archive) -> None:
    """With the chain computed again and the later heads gone too, broker and archive agree, and no head contradicts."""
    messages = await days.messages()
    messages[44] = (*messages[44][:2], b'{"what": "else"}')
    await days.written_again(messages)
    chain = GENESIS
    for position, (subject, headers, data) in enumerate(messages, 1):
        chain = link(chain, position, subject, headers, data)
        await days.sql("UPDATE log.event SET data = %s, hash = %s WHERE position = %s", data, chain, position)
    await days.sql("UPDATE log.checkpoint SET hash = %s", chain)
    remove(days, 2, 3, 4)
    assert await days.found() == [("heads", "missing", 41, 60)]


async def test_a_head_that_is_signed_again_does_not_stand_for_the_one_that_was_removed(days: Archive) -> None:
    remove(days, 4)
    again = Heads(days.heads.folder, days.heads.key_file, days.clock)  # as after a restart on the same day
    await again.daily(await days.head())
    assert [h.number for h in again.read()] == [1, 2, 3, 5]
    assert await days.found() == [("heads", "missing", 51, 60)]


async def test_a_damaged_head_is_not_called_missing_too(days: Archive) -> None:
    file = days.heads.folder / "2026-03-02.json"
    file.chmod(0o600)
    file.write_text("{")
    assert await days.found() == [("heads", "edited", 0, 0)]


async def test_heads_of_before_they_were_numbered_are_believed(days: Archive) -> None:
    for name in ("2026-03-01.json", "2026-03-02.json", "2026-03-03.json", "2026-03-04.json"):
        path = days.heads.folder / name
        said = {k: v for k, v in json.loads(path.read_text()).items() if k in ("position", "hash", "at")}
        signature = days.heads._key().sign(json.dumps(said, sort_keys=True, separators=(",", ":")).encode())
        path.chmod(0o600)
        path.write_text(json.dumps({**said, "signature": signature.hex()}))
    days.heads.key_file.with_name("head_key.last").unlink()
    assert await days.found() == INTACT
    days.heads.sign(await days.head(), "2026-03-05")
    assert await days.found() == INTACT


def test_heads_signed_at_the_same_time_have_a_number_each(tmp_path: Path) -> None:
    several = [Heads(tmp_path / "heads", tmp_path / "head_key", Days()) for _ in range(4)]
    several[0].sign(Head(1, bytes(32)), "first")
    with ThreadPoolExecutor(4) as pool:
        for n in range(5):
            list(pool.map(lambda heads, n=n: heads.sign(Head(2, bytes(32)), f"{n}-{id(heads)}"), several))
    read = several[0].read()
    assert sorted(head.number for head in read) == list(range(1, 22))
    assert several[0].missing(read) == []


def test_a_key_whose_maker_was_killed_before_its_public_half_gets_it_with_the_next_head(
    tmp_path: Path,
) -> None:
    heads = Heads(tmp_path / "heads", tmp_path / "head_key", Days())
    heads.sign(Head(1, b"one"), "one")
    (tmp_path / "head_key.pub").unlink()
    assert heads.read()[0].problem is not None
    heads.sign(Head(2, b"two"), "two")
    assert [(head.position, head.problem) for head in heads.read()] == [(1, None), (2, None)]


@pytest.mark.parametrize("gone", [["head_key"], ["head_key", "head_key.pub"]])
def test_a_lost_key_is_not_followed_by_another_one(tmp_path: Path, gone: list[str]) -> None:
    """What that signed would not be believed beside the heads of the first."""
    heads = Heads(tmp_path / "heads", tmp_path / "head_key", Days())
    heads.sign(Head(1, b"one"), "one")
    for name in gone:
        (tmp_path / name).unlink()
    with pytest.raises(OSError, match=r"head_key is gone.*from a backup"):
        heads.sign(Head(2, b"two"), "two")
    assert not (tmp_path / "head_key").exists()


@pytest.mark.parametrize(
    "note", [b"", b"[]", b"{}", b"\xff\xfe", b'{"name": 1, "position": 1e999, "hash": ""}']
)
async def test_a_damaged_note_of_the_last_head_is_found_and_signs_nothing(days: Archive, note: bytes) -> None:
    days.heads.key_file.with_name("head_key.last").write_bytes(note)
    assert await days.found() == [("heads", "missing", 61, 61)]
    [said] = await told(days)
    assert "head_key.last can't be read" in said
    with pytest.raises(OSError, match=r"head_key\.last can't be read"):
        days.heads.sign(await days.head(), "2026-03-05")


@pytest.mark.parametrize("key", [b"", b"-----BEGIN PRIVATE KEY-----\n", b"\x00" * 119])
async def test_a_damaged_key_stops_the_heads_and_not_the_archive(archive: Archive, key: bytes) -> None:
    whole = archive.heads.key_file.read_bytes()
    archive.heads.key_file.write_bytes(key)
    archive.clock.now = archive.clock.now.replace(day=2)
    async with Tail(archive.log) as tail:
        copier = Copier(archive.pool, tail, archive.heads, standby_interval=0.05)
        async with running_work(copier.run()):
            await eventually(lambda: "head_key can't be read" in str(copier.reason))
            await archive.fill(60)
            assert await copier.wait_for(60, 30)
            assert copier.state is State.LIVE
            archive.heads.key_file.write_bytes(whole)
            await archive.fill(61)
            await eventually(lambda: copier.position == 61 and copier.reason is None)
    assert await archive.found() == INTACT


async def test_a_home_of_its_own_makes_no_second_key_and_says_where_the_heads_are(
    archive: Archive, tmp_path: Path
) -> None:
    other = Heads(tmp_path / "other" / "heads", tmp_path / "other" / "head_key", archive.clock)
    async with archive.pool.connection() as connection:
        await signer.claim(connection, archive.heads)
    async with Tail(archive.log) as tail:
        second = Copier(archive.pool, tail, other, standby_interval=0.05)
        async with running_work(second.run()):
            await eventually(lambda: second.reason is not None)
            assert second.state is State.LIVE  # the archive itself goes on
            assert f"{archive.heads.folder}. Set RCLAUDE_HEADS and RCLAUDE_HEAD_KEY" in str(second.reason)
    assert not other.key_file.exists()
    assert other.read() == []


async def test_verify_says_where_the_heads_are_that_it_does_not_find(
    archive: Archive, tmp_path: Path
) -> None:
    async with archive.pool.connection() as connection:
        await signer.claim(connection, archive.heads)
    assert await archive.found() == INTACT
    elsewhere = Heads(tmp_path / "elsewhere", tmp_path / "elsewhere_key", archive.clock)
    report = await verify(archive.log, archive.pool, elsewhere)
    [finding] = report.findings
    assert (finding.side, finding.kind, finding.first, finding.last) == ("heads", "missing", 1, 40)
    assert f"{archive.heads.folder}, and {elsewhere.folder} has none of theirs" in finding.detail


async def test_a_new_key_takes_the_place_of_one_that_is_lost(archive: Archive, tmp_path: Path) -> None:
    other = Heads(tmp_path / "new", tmp_path / "new_key", archive.clock)
    async with archive.pool.connection() as connection:
        await signer.claim(connection, archive.heads)
        with pytest.raises(HeadsOfAnotherKey):
            await signer.claim(connection, other)
        await signer.claim(connection, other, replace=True)
        await signer.claim(connection, other)
        with pytest.raises(HeadsOfAnotherKey):
            await signer.claim(connection, archive.heads)
