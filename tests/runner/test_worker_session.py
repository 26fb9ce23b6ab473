"""The runner's end of the line against a client that says what it likes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import select
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed

from event_logs import until
from remote_claude.runner.sessions import WorkerListener, WorkerLost, WorkerSession
from remote_claude.runner.sessions.channel import SocketChannel
from remote_claude.runner.sessions.listener import MAX_STRANGERS, WARNINGS
from remote_claude.worker.protocol import frames
from remote_claude.worker.protocol import messages as protocol
from remote_claude.worker.protocol.messages import CheckpointSent, Close, TaskMessage
from workers import Stored, listening, task

TEXT = {"kind": "text", "at": "2026-01-01T00:00:00.000000Z", "text": "hi"}
RESULT = {"type": "result", "outcome": "succeeded", "summary": "ok"}


class Client:
    """A worker's end, with no manners."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws

    async def say(self, message: object) -> None:
        data = message if isinstance(message, str | bytes) else json.dumps(message)
        await self.ws.send(data)

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(60):
            received: dict[str, Any] = json.loads(await self.ws.recv())
            return received

    async def closed(self) -> tuple[int, str]:
        """Why the runner hung up."""
        async with asyncio.timeout(60):
            with suppress(ConnectionClosed):
                async for _ in self.ws:
                    pass
        assert self.ws.close_code is not None
        return self.ws.close_code, self.ws.close_reason or ""


@dataclass
class Line:
    """A session, and the listener that its worker reaches."""

    listener: WorkerListener
    session: WorkerSession


@asynccontextmanager
async def line(stored: Stored, **more: Any) -> AsyncIterator[Line]:
    with tempfile.TemporaryDirectory(prefix="rc-", dir="/tmp") as name:
        folder = Path(name)
        given = {"lease_s": 10.0} | {n: more.pop(n) for n in ("lease_s", "permission_mode") if n in more}
        async with listening(folder / "listener") as listener:
            session = WorkerSession(task("true", **given), inbox=folder, on_frames=stored, **more)
            async with listener.attended(session):
                yield Line(listener, session)


@asynccontextmanager
async def client(one: Line) -> AsyncIterator[Client]:
    socket = str(one.listener.socket)
    async with unix_connect(socket, max_size=None, ping_interval=None, close_timeout=1) as ws:
        yield Client(ws)


@asynccontextmanager
async def admitted(one: Line) -> AsyncIterator[Client]:
    """A client that has exchanged the token."""
    async with client(one) as it:
        await it.say({"type": "hello", "token": one.session.token, "version": protocol.VERSION})
        assert (await it.receive())["type"] == "task"
        yield it


async def test_token_is_good_for_one_hello() -> None:
    async with line(Stored()) as one:
        async with client(one) as it:
            await it.say({"type": "hello", "token": "guessed"})
            assert (await it.closed())[0] == Close.UNAUTHORIZED
        async with admitted(one):
            pass
        async with client(one) as it:
            await it.say({"type": "hello", "token": one.session.token})
            assert await it.closed() == (Close.UNAUTHORIZED, "the token is spent or wrong")
        async with client(one) as it:
            await it.say({"type": "hello", "session_key": "guessed"})
            assert (await it.closed())[0] == Close.UNAUTHORIZED


async def test_session_key_before_the_token_is_spent_opens_nothing() -> None:
    async with line(Stored()) as one, client(one) as it:
        await it.say({"type": "hello", "session_key": one.session.session_key})
        assert (await it.closed())[0] == Close.UNAUTHORIZED


@pytest.mark.parametrize(
    "message",
    [
        "not json",
        "[]",
        "null",
        b"bytes",
        '{"type":"frames","seq":1,"frames":[' + "[" * 10_000,
        {"type": "task"},
        {"type": "frames", "seq": "1", "frames": []},
        {"type": "frames", "seq": True, "frames": []},
        {"type": "frames", "seq": -1, "frames": []},
        {"type": "frames", "seq": 1, "frames": {}},
        {"type": "frames", "seq": 1},
        {"type": "frames", "seq": 1, "frames": [TEXT], "more": 1},
        {"type": "frames", "seq": 1, "frames": ["text"]},
        {"type": "frames", "seq": 1, "frames": [TEXT | {"kind": "rumour"}]},
        {"type": "frames", "seq": 1, "frames": [TEXT | {"kind": ["text"]}]},
        {"type": "frames", "seq": 1, "frames": [TEXT | {"text": 5}]},
        {"type": "frames", "seq": 1, "frames": [TEXT | {"at": "x" * 100}]},
        {"type": "frames", "seq": 1, "frames": [TEXT | {"text": "x" * (frames.MAX_TEXT + 1)}]},
        {"type": "frames", "seq": 1, "frames": [TEXT | {"org": "another"}]},
        '{"type":"frames","seq":1,"frames":[{"kind":"text","at":"","text":"\\ud800"}]}',
        {"type": "blob", "name": "../../etc/passwd", "size": 1, "sha256": "0"},
        {"type": "blob", "name": protocol.SOURCE_BUNDLE, "size": 1, "sha256": "0"},
        RESULT | {"commit": "HEAD; rm -rf"},
        RESULT | {"outcome": "cancelled"},
        RESULT | {"reason": "Because I say so"},
        RESULT | {"summary": "x" * 70_000},
        RESULT | {"exit_code": 1.5},
    ],
    ids=lambda message: str(message)[:60],
)
async def test_malformed_message_closes_the_connection_and_nothing_is_stored(message: object) -> None:
    stored = Stored()
    async with line(stored) as one, admitted(one) as it:
        await it.say(message)
        code, reason = await it.closed()
        assert code == Close.MALFORMED
        assert reason
        assert not stored.frames
        assert not one.session.result.done()


async def test_message_over_the_limit_closes_the_connection() -> None:
    async with line(Stored()) as one, admitted(one) as it:
        length = (protocol.MAX_MESSAGE + 1).to_bytes(8, "big")
        it.ws.transport.write(
            bytes([0x81, 0x80 | 127]) + length + b"mask"
        )  # the head of such a message is enough
        assert (await it.closed())[0] == 1009


async def test_deeply_nested_input_is_refused() -> None:
    nested: Any = 1
    for _ in range(200):
        nested = [nested]
    call = {"kind": "tool_call", "at": "", "id": "1", "name": "x", "input": {"a": nested}}
    async with line(Stored()) as one, admitted(one) as it:
        await it.say({"type": "frames", "seq": 1, "frames": [call]})
        assert (await it.closed())[0] == Close.MALFORMED


async def test_gap_is_refused_and_duplicates_are_dropped() -> None:
    stored = Stored()
    async with line(stored) as one, admitted(one) as it:
        numbered = [TEXT | {"text": str(n)} for n in range(1, 8)]
        await it.say({"type": "frames", "seq": 1, "frames": numbered[:3]})
        assert await it.receive() == {"type": "ack", "seq": 3}
        await it.say({"type": "frames", "seq": 2, "frames": numbered[1:5]})
        assert (await it.receive())["seq"] == 5
        await it.say({"type": "frames", "seq": 1, "frames": numbered[:2]})
        assert (await it.receive())["seq"] == 5
        await it.say({"type": "frames", "seq": 7, "frames": numbered[6:]})
        assert (await it.closed())[0] == Close.GAP
    assert [f["text"] for f in stored.frames] == ["1", "2", "3", "4", "5"]


async def test_blob_arrives_checked_or_not_at_all() -> None:
    good = b"bundle" * 1000
    header = {
        "type": "blob",
        "name": protocol.RESULT_BUNDLE,
        "size": len(good),
        "sha256": hashlib.sha256(good).hexdigest(),
    }
    async with line(Stored()) as one:
        async with admitted(one) as it:
            await it.say(header)
            await it.say(good[:-1] + b"!")
            assert (await it.closed())[0] == Close.MALFORMED
        assert not list(one.session._inbox.glob("*bundle*"))
        async with client(one) as it:
            await it.say({"type": "hello", "session_key": one.session.session_key, "prepared": True})
            assert await it.receive() == {"type": "resume", "acked": 0}
            await it.say(header)
            await it.say(good[:100])
            await it.say({"type": "alive"})  # its lease was renewed meanwhile
            await it.say(good[100:])
            await it.say(RESULT | {"summary": "a\0b", "commit": "0" * 40})
            assert (await it.receive())["result"] is True
            await it.say(RESULT | {"outcome": "failed"})  # said again: the first counts
            assert (await it.receive())["result"] is True
            await it.say({"type": "frames", "seq": 1, "frames": [TEXT]})
            assert (await it.closed())[0] == Close.OVER
        result = await one.session.result
        assert result.outcome == "succeeded"
        assert result.summary == "a\N{REPLACEMENT CHARACTER}b"
        assert result.bundle
        assert result.bundle.read_bytes() == good
        assert result.patch is None


async def test_blob_over_the_limit_is_refused_by_its_header() -> None:
    async with line(Stored(), max_blob_bytes=10) as one, admitted(one) as it:
        await it.say({"type": "blob", "name": protocol.CHANGES_PATCH, "size": 11, "sha256": ""})
        assert (await it.closed())[0] == Close.TOO_LARGE


async def test_blob_longer_than_announced_is_refused() -> None:
    async with line(Stored()) as one, admitted(one) as it:
        await it.say({"type": "blob", "name": protocol.CHANGES_PATCH, "size": 3, "sha256": ""})
        await it.say(b"four")
        assert (await it.closed())[0] == Close.MALFORMED


async def test_bundle_is_delivered_again_to_a_worker_that_did_not_get_it_whole(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 700_000)
    async with line(Stored(), bundle=source) as one:
        async with admitted(one):
            pass  # gone in the middle of it
        async with client(one) as it:
            await it.say({"type": "hello", "session_key": one.session.session_key})
            assert (await it.receive())["repository"] is True
            header = await it.receive()
            assert header["size"] == 700_000
            received = b""
            while len(received) < 700_000:
                chunk = await it.ws.recv()
                assert isinstance(chunk, bytes)
                assert len(chunk) <= protocol.CHUNK
                received += chunk
            assert hashlib.sha256(received).hexdigest() == header["sha256"]


async def test_renewal_that_has_to_wait_for_the_bundle_does_not_break_it_off(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 10_000_000)  # more than fits on the way
    async with line(Stored(), bundle=source) as one, admitted(one) as it:
        assert (await it.receive())["size"] == 10_000_000
        it.ws.transport.pause_reading()

        def held_up() -> bool:
            assert isinstance(one.session._connection, SocketChannel)
            way = one.session._connection.ws.transport
            full = not select.select([], [way.get_extra_info("socket")], [], 0)[1]
            return full and way.get_write_buffer_size() > 2**15

        await until(held_up)
        await one.session.renew(10.0)
        it.ws.transport.resume_reading()
        received, said = 0, list[str | bytes]()
        while received < 10_000_000:
            if isinstance(data := await it.ws.recv(), str):
                said.append(data)
            else:
                received += len(data)
        assert [json.loads(data)["type"] for data in said] == ["lease"]


async def test_newer_connection_of_a_session_ends_the_older() -> None:
    async with line(Stored()) as one, admitted(one) as old, client(one) as new:
        await new.say({"type": "hello", "session_key": one.session.session_key, "prepared": True})
        assert (await old.closed())[0] == Close.SUPERSEDED
        assert (await new.receive())["type"] == "resume"


async def test_silent_worker_is_hung_up_on_and_then_lost() -> None:
    async with line(Stored(), lease_s=0.3) as one, admitted(one) as it:
        assert (await it.closed())[0] == Close.SILENT
        with pytest.raises(WorkerLost):
            await one.session.result
        async with client(one) as late:
            await late.say({"type": "hello", "session_key": one.session.session_key})
            assert (await late.closed())[0] == Close.OVER


async def test_worker_that_does_not_read_does_not_hold_up_the_runner() -> None:
    async with line(Stored(), lease_s=1.0) as one:
        reader, writer = await asyncio.open_unix_connection(str(one.listener.socket), limit=1)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n")
        writer.write(b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        hello = json.dumps({"type": "hello", "token": one.session.token}).encode()
        writer.write(bytes([0x81, 0x80 | len(hello)]) + b"\0\0\0\0" + hello)
        await one.session.connected.wait()
        async with asyncio.timeout(30):
            while one.session._connection is not None:  # until it is cut off
                await one.session.stop("x" * 4_000)
        writer.close()
        del reader


async def test_no_worker_within_the_arrival_time_is_lost() -> None:
    async with line(Stored(), arrival_s=0.05) as one:
        with pytest.raises(WorkerLost):
            await one.session.result


async def test_one_stranger_too_many_ends_the_oldest_and_harms_no_session() -> None:
    async with line(Stored()) as one, admitted(one) as it:
        path = str(one.listener.socket)
        several = [await asyncio.open_unix_connection(path) for _ in range(MAX_STRANGERS + 1)]
        async with asyncio.timeout(60):
            assert await several[0][0].read() == b""
        await it.say({"type": "frames", "seq": 1, "frames": [TEXT]})
        assert (await it.receive())["seq"] == 1
        for _, other in several:
            other.close()


async def test_refusals_of_strangers_do_not_fill_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    async with line(Stored()) as one:
        for _ in range(WARNINGS + 5):
            async with client(one) as it:
                await it.say({"type": "hello", "token": "guessed"})
                await it.closed()
    assert capsys.readouterr().out.count("the token is spent or wrong") == WARNINGS


async def test_end_of_the_attempt_closes_with_its_code() -> None:
    async with line(Stored()) as one, admitted(one) as it:
        await one.session.__aexit__()
        assert (await it.closed())[0] == Close.OVER


async def echo() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A destination that answers what it receives, in capitals, once all of it has arrived."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=theirs)

    async def answer() -> None:
        writer.write((await reader.read()).upper())
        writer.close()

    ECHOES.add(asyncio.create_task(answer()))
    return await asyncio.open_unix_connection(sock=ours)


ECHOES: set[asyncio.Task[None]] = set()


async def test_a_stream_carries_bytes_both_ways() -> None:
    async with line(Stored(), streams={"echo": echo}) as one, admitted(one), client(one) as it:
        await it.say({"type": "hello", "session_key": one.session.session_key, "stream": "echo"})
        assert await it.receive() == {"type": "opened"}
        await it.say(b"one, ")
        await it.say(b"two")
        await it.say(b"")  # the end of this direction
        assert await it.ws.recv() == b"ONE, TWO"
        assert await it.ws.recv() == b""


@pytest.mark.parametrize("hello", [{"stream": "elsewhere"}, {"stream": "echo", "session_key": "guessed"}])
async def test_only_streams_of_the_session_are_opened(hello: dict[str, str]) -> None:
    async with line(Stored(), streams={"echo": echo}) as one, admitted(one), client(one) as it:
        await it.say({"type": "hello", "session_key": one.session.session_key} | hello)
        assert (await it.closed())[0] == Close.UNAUTHORIZED


async def test_a_token_opens_no_stream() -> None:
    async with line(Stored(), streams={"echo": echo}) as one, client(one) as it:
        await it.say({"type": "hello", "token": one.session.token, "stream": "echo"})
        assert (await it.closed())[0] == Close.UNAUTHORIZED


async def test_messages_arrive_once_and_again_after_a_drop() -> None:
    async with line(Stored()) as one:
        async with admitted(one) as it:
            await one.session.send_message(TaskMessage(number=1, text="also this"))
            assert await it.receive() == {"type": "message", "number": 1, "text": "also this"}
        await one.session.send_message(TaskMessage(number=2, text="and that"))
        key = one.session.session_key
        async with client(one) as it:
            await it.say({"type": "hello", "session_key": key, "prepared": True, "messages": 1})
            assert (await it.receive())["type"] == "resume"
            assert (await it.receive())["number"] == 2


async def test_a_checkpoint_is_acknowledged_once_it_is_stored() -> None:
    kept: list[tuple[int, bytes]] = []

    async def keep(checkpoint: CheckpointSent, archive: Path) -> None:
        kept.append((checkpoint.turn, archive.read_bytes()))  # noqa: ASYNC240  five bytes

    async with line(Stored(), on_checkpoint=keep) as one, admitted(one) as it:
        digest = hashlib.sha256(b"state").hexdigest()
        await it.say({"type": "blob", "name": protocol.CHECKPOINT, "size": 5, "sha256": digest})
        await it.say(b"state")
        await it.say({"type": "checkpoint", "turn": 3, "messages": 0})
        assert await it.receive() == {"type": "saved", "turn": 3}
        assert kept == [(3, b"state")]
        await it.say({"type": "checkpoint", "turn": 4, "messages": 0})
        assert (await it.closed())[0] == Close.MALFORMED


async def test_a_worker_of_the_previous_version_of_the_protocol_still_works() -> None:
    """It gets no field that it does not know: an unknown one would close the connection on its side."""
    of_version_1 = {
        *("type", "task", "attempt", "agent", "prompt", "lease_s", "session_key", "repository", "checkpoint"),
        *(
            "continues",
            "branch",
            "author_name",
            "author_email",
            "max_result_bytes",
            "model",
            "saves",
            "streams",
        ),
        *("environment", "authority", "traceparent"),
    }
    stored = Stored()
    async with line(stored) as one, client(one) as it:
        await it.say({"type": "hello", "token": one.session.token, "version": "1"})
        assert (await it.receive()).keys() <= of_version_1
        await it.say({"type": "frames", "seq": 1, "frames": [TEXT]})
        assert await it.receive() == {"type": "ack", "seq": 1}
        await it.say({"type": "result", "outcome": "succeeded", "summary": "done"})
        assert await it.receive() == {"type": "ack", "seq": 1, "result": True}
        assert (await one.session.result).outcome == "succeeded"


async def test_a_worker_that_can_not_ask_gets_no_task_that_asks() -> None:
    async with line(Stored(), permission_mode="ask") as one, client(one) as it:
        await it.say({"type": "hello", "token": one.session.token, "version": "1"})
        assert (await it.closed())[0] == Close.MALFORMED
