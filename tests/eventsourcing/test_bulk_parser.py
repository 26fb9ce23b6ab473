"""What is taken apart in bulk is what nats-py's own parser finds in the same bytes, wherever they are cut."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from remote_claude.eventsourcing.jetstream.bulk_parser import BulkParser

HEADERS = b"NATS/1.0\r\nA: 1\r\n\r\n"
HANDLED, ORDINARY = b"7", b"12"
STREAM = b"".join(
    (
        b"MSG a.b %b 5\r\nhello\r\n" % HANDLED,
        b"HMSG a.b %b reply.to %d %d\r\n%bhello\r\n" % (HANDLED, len(HEADERS), len(HEADERS) + 5, HEADERS),
        b"PING\r\n",
        b"HMSG c %b %d %d\r\n%b\r\n" % (HANDLED, len(HEADERS), len(HEADERS), HEADERS),
        b"+OK\r\n",
        b"MSG d %b reply 4\r\n\r\n\r\n\r\n" % HANDLED,
        b"MSG x.y %b 11\r\nPING\r\nMSG a\r\n" % ORDINARY,
        b"MSG e %b 0\r\n\r\n" % HANDLED,
        b"HMSG x.y %b r %d %d\r\n%bthere\r\n" % (ORDINARY, len(HEADERS), len(HEADERS) + 5, HEADERS),
        b"-ERR 'Slow Consumer'\r\n",
        b"MSG f %b 1\r\nx\r\n" % HANDLED,
    )
)


class Heard:
    """What a parser says to its connection, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        self.calls.append((sid, subject, reply, headers or b"", data))

    async def _process_ping(self) -> None:
        self.calls.append(("ping",))

    async def _process_err(self, error: str) -> None:
        self.calls.append((error,))


def expected() -> list[tuple[Any, ...]]:
    heard = Heard()
    asyncio.run(Parser(heard).parse(STREAM))
    return heard.calls


def found(before: bytes, parts: Iterable[bytes]) -> list[tuple[Any, ...]]:
    """By a parser that got `before`, and then had ours put before it."""
    heard = Heard()
    ordinary = Parser(heard)

    async def parse() -> None:
        await ordinary.parse(before)
        frames = BulkParser(
            ordinary, {HANDLED: lambda *message: heard.calls.append((int(HANDLED), *message))}
        )
        for part in parts:
            await frames.parse(part)

    asyncio.run(parse())
    return heard.calls


def test_a_stream_in_one_piece_and_byte_by_byte() -> None:
    assert len(expected()) == 10
    assert found(b"", [STREAM]) == expected()
    assert found(b"", [STREAM[n : n + 1] for n in range(len(STREAM))]) == expected()


def test_cut_anywhere() -> None:
    for cut in range(len(STREAM)):
        assert found(b"", [STREAM[:cut], STREAM[cut:]]) == expected(), cut


def test_put_before_a_parser_that_is_at_it() -> None:
    for cut in range(len(STREAM)):
        rest = STREAM[cut:]
        assert found(STREAM[:cut], [rest]) == expected(), cut
        assert found(STREAM[:cut], [rest[:3], rest[3:]]) == expected(), cut


def test_another_connection_begins_anew() -> None:
    heard = Heard()
    frames = BulkParser(Parser(heard), {})

    async def parse() -> None:
        await frames.parse(b"MSG a 1 5\r\nhel")
        frames.reset()
        await frames.parse(b"PING\r\n")

    asyncio.run(parse())
    assert heard.calls == [("ping",)]


@pytest.mark.parametrize(
    "line", [b"MSG\r\n", b"MSG a 7 x\r\n", b"HMSG a 7 x 5\r\n", b"HMSG 5\r\n", b"WHAT\r\n"]
)
def test_what_is_no_frame_is_a_protocol_error(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        found(b"", [line])
