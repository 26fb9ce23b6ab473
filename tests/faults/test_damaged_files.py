"""Files of the broker are cut short, emptied, lost, or a bit of them changes: the log is whole, or the loss is named.

Nothing wrong is ever served, and `rclaude-admin log restore` brings every event back to its position.
"""

import os
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from archiving import Archive, Days, Message, archived
from event_logs import JsonCodec, connect, happened
from projecting import open_pool
from remote_claude.eventsourcing.jetstream import JetStreamEventLog, streams
from remote_claude.eventsourcing.log import EventLogError, LogIncomplete
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.runtime.archive.errors import ArchiveError
from remote_claude.runtime.archive.heads import Heads
from remote_claude.runtime.archive.history import ArchivedHistory
from remote_claude.runtime.archive.restore import LostForGood, Restored, restore
from remote_claude.runtime.archive.start import check
from remote_claude.runtime.archive.verify import verify
from servers import Broker, running_nats

SEED = int(os.environ.get("RCLAUDE_TEST_SEED", "20261124"))
EVENTS = 60  # of 200 kB: two blocks


@dataclass
class Damaged:
    """A broker whose files can be spoilt, and an archive of all that it had."""

    broker: Broker
    pool: Pool
    folder: Path
    messages: list[Message]

    @property
    def data(self) -> Path:
        assert self.broker.seed_file is not None
        return self.broker.seed_file.parent / "data"

    @property
    def stream(self) -> Path:
        return self.data / "jetstream" / "$G" / "streams" / streams.EVENTS

    def spoil(self, random_: random.Random) -> str:
        """Damage one file of the stream, which the broker ended with an index or, killed, without. What was done."""
        shutil.rmtree(self.data)
        shutil.copytree(self.folder / "intact", self.data)
        how, killed = random_.choice(["flip", "cut", "empty", "lose"]), random_.random() < 0.5
        if killed:
            (self.stream / "msgs" / "index.db").unlink()
        file = random_.choice(sorted(path for path in self.stream.rglob("*") if path.is_file()))
        content = bytearray(file.read_bytes())
        at = random_.randrange(len(content))
        match how:
            case "flip":
                content[at] ^= 1 << random_.randrange(8)
            case "cut":
                del content[at:]
            case "empty":
                content[at : at + 4096] = bytes(len(content[at : at + 4096]))
        file.write_bytes(content)
        if how == "lose":
            file.unlink()
        return f"{how} {file.name} at {at} of {len(content)}{', killed' if killed else ''}"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Archive]:
        """The log as an administrator's command has it."""
        client = await connect(self.broker)
        try:
            await streams.ensure_log_streams(client)
            async with JetStreamEventLog(client, JsonCodec(), bound=5) as log:
                await log.go_back_to(ArchivedHistory(self.pool, JsonCodec()))
                heads = Heads(self.folder / "heads", self.folder / "head_key", Days())
                yield Archive(self.broker, client, log, self.pool, heads, Days())
        finally:
            await client.close()

    async def whole(self) -> bool:
        """Whether the log starts and is what it was; a loss that has no name fails."""
        async with self.opened() as one:
            try:
                await check(one.log, self.pool)
                messages = await one.messages()
            except (ArchiveError, EventLogError):
                report = await verify(one.log, self.pool, one.heads)
                assert {(f.side, f.kind) for f in report.findings} <= {
                    ("broker", "missing"),
                    ("broker", "cut"),
                }
                assert report.findings
                return False
            assert messages == self.messages
            return True

    async def restored(self) -> None:
        """Bring back what is lost."""
        async with self.opened() as one:
            await restore(one.log, one.client, self.pool, one.heads)
        async with self.opened() as one:
            await check(one.log, self.pool)
            assert await one.messages() == self.messages
            assert await one.found() == []


@pytest.fixture
async def damaged(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Damaged]:
    with running_nats({}) as broker:
        async with open_pool(postgres_dsn) as pool:
            async with archived(broker, pool, tmp_path, events=1) as archive:
                position: dict[str, int] = {}
                for n in range(EVENTS):
                    stream = f"ev.gateway.org_1.task.task_{n % 7}"
                    event = happened(chr(97 + n % 26) * 200_000)
                    position[stream] = await archive.log.append(
                        stream, [event], expected_position=position.get(stream, 0)
                    )
                await archive.copied()
                messages = await archive.messages()
            one = Damaged(broker, pool, tmp_path, messages)
            broker.stop()
            shutil.copytree(one.data, tmp_path / "intact")
            yield one


async def harm(one: Damaged, times: int) -> None:
    random_ = random.Random(SEED)
    lost = 0
    for _ in range(times):
        what = one.spoil(random_)
        one.broker.start()
        try:
            if not await one.whole():
                lost += 1
                await one.restored()
        except BaseException as error:
            error.add_note(what)
            raise
        finally:
            one.broker.stop()
    assert lost > times // 4, "the damage does harm"


async def test_what_damaged_files_lose_is_named_and_restored(damaged: Damaged) -> None:
    await harm(damaged, 12)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
async def test_what_files_lose_that_were_damaged_200_times_is_named_and_restored(damaged: Damaged) -> None:
    await harm(damaged, 200)


async def test_an_aggregate_with_a_hole_in_its_history_is_not_decided_upon(damaged: Damaged) -> None:
    """The broker drops a damaged event from a direct read without a word."""
    shutil.rmtree(damaged.data)
    shutil.copytree(damaged.folder / "intact", damaged.data)
    stream, _, data = damaged.messages[20]
    block = damaged.stream / "msgs" / "1.blk"
    content = block.read_bytes()
    block.write_bytes(content.replace(data, data[:-9] + b"!" + data[-8:], 1))
    damaged.broker.start()
    async with damaged.opened() as one:
        with pytest.raises(EventLogError, match="lost events that it had acknowledged"):
            await one.log.read_stream(stream)
        await restore(one.log, one.client, damaged.pool, one.heads)
        history = [(e.stream, e.headers, e.data) for e in await one.log.read_stream(stream)]
        assert history == [message for message in damaged.messages if message[0] == stream]


async def test_damage_to_the_head_of_a_record_in_the_last_block_is_restored(damaged: Damaged) -> None:
    """The broker's log ends before it, and what is written on from there it acknowledges and does not keep."""
    shutil.rmtree(damaged.data)
    shutil.copytree(damaged.folder / "intact", damaged.data)
    stream, _, data = damaged.messages[-5]
    block = max((damaged.stream / "msgs").glob("*.blk"), key=lambda path: int(path.stem))
    content = bytearray(block.read_bytes())
    at = content.rindex(stream.encode(), 0, content.index(data))
    content[at - 32 : at + 8] = bytes(byte ^ 255 for byte in content[at - 32 : at + 8])
    block.write_bytes(content)
    damaged.broker.start()
    await damaged.restored()


async def test_damage_to_the_very_last_event_is_named_and_restored(damaged: Damaged) -> None:
    """It stays pending for ever: the broker knows that it is there, and gives it to nobody."""
    shutil.rmtree(damaged.data)
    shutil.copytree(damaged.folder / "intact", damaged.data)
    data = damaged.messages[-1][2]
    block = max((damaged.stream / "msgs").glob("*.blk"), key=lambda path: int(path.stem))
    content = block.read_bytes()
    block.write_bytes(content.replace(data, data[:-9] + b"!" + data[-8:], 1))
    damaged.broker.start()
    last = len(damaged.messages)
    async with damaged.opened() as one:
        with pytest.raises(LogIncomplete, match=f"positions {last} to {last}"):
            await check(one.log, damaged.pool)
        report = await verify(one.log, damaged.pool, one.heads)
        assert [(f.side, f.first, f.last) for f in report.findings] == [("broker", last, last)]
    await damaged.restored()


async def test_an_end_that_was_not_archived_yet_is_given_up_when_that_is_asked_for(damaged: Damaged) -> None:
    """The broker's index says that it is there, and nobody can read it."""
    shutil.rmtree(damaged.data)
    shutil.copytree(damaged.folder / "intact", damaged.data)
    last = len(damaged.messages)
    damaged.broker.start()
    async with damaged.opened() as one:
        at, size = (
            await one.log.append("ev.gateway.org_1.task.late", [happened()], expected_position=0),
            200_000,
        )
        for _ in range(3):
            at = await one.log.append(
                "ev.gateway.org_1.task.late", [happened("x" * size)], expected_position=at
            )
    damaged.broker.stop()
    block = max((damaged.stream / "msgs").glob("*.blk"), key=lambda path: int(path.stem))
    content = bytearray(block.read_bytes())
    content[-size - 1000] ^= 1  # in the one before the last
    block.write_bytes(content)
    damaged.broker.start()
    try:
        async with damaged.opened() as one:
            with pytest.raises(LostForGood, match="--without-lost"):
                await restore(one.log, one.client, damaged.pool, one.heads)
            done = await restore(one.log, one.client, damaged.pool, one.heads, without_lost=True)
            assert done == Restored(0, last + 3, last + 2, lost=last + 4)
        async with damaged.opened() as one:
            await check(one.log, damaged.pool)
            assert (await one.messages())[:last] == damaged.messages
            assert (await one.head()).position == await one.log.last_position() == last + 2
            assert await one.found() == []
    finally:
        damaged.broker.stop()
