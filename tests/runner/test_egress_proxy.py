"""The egress proxy: hosts on the list, checked addresses, tunnels and plain HTTP, and a line for each connection."""

from __future__ import annotations

import asyncio
import tempfile
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect as websocket_connect
from websockets.asyncio.server import ServerConnection, serve

from remote_claude.outbound import AllowedHosts
from remote_claude.runner.egress import Connected, EgressProxy, NetworkPolicy
from remote_claude.runner.egress.policy import default_hosts, page

ROOT = Path(__file__).resolve().parents[2]


class Way:
    """A proxy on its socket, and the connections that it reported."""

    def __init__(self, socket: Path, network: str, allowed: str) -> None:
        self.reported: list[Connected] = []
        self.socket = socket
        self.proxy = EgressProxy(NetworkPolicy.parse(network), AllowedHosts.parse(allowed), self._tell)

    async def _tell(self, connected: Connected) -> None:
        self.reported.append(connected)

    async def ask(self, head: str, body: bytes = b"") -> bytes:
        reader, writer = await asyncio.open_unix_connection(str(self.socket))
        writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        async with asyncio.timeout(60):
            answer = await reader.read()
        writer.close()
        return answer


@pytest.fixture
def socket() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rc-", dir="/tmp") as folder:
        yield Path(folder) / "egress.sock"


@asynccontextmanager
async def way(socket: Path, network: str, allowed: str = "") -> AsyncIterator[Way]:
    one = Way(socket, network, allowed)
    await one.proxy.listen(socket)
    try:
        yield one
    finally:
        await one.proxy.close()


@asynccontextmanager
async def server(answer: bytes, seen: list[bytes]) -> AsyncIterator[int]:
    """A port of loopback that reads one head, answers, and hangs up."""

    async def serve_one(reader: StreamReader, writer: StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve_one, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]


async def test_plain_http_goes_to_an_allowed_host_in_its_own_form(socket: Path) -> None:
    seen: list[bytes] = []
    async with server(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", seen) as port:
        host = f"127.0.0.1:{port}"
        async with way(socket, host, allowed=host) as one:
            asked = f"GET http://{host}/a?b=1 HTTP/1.1\nHost: other.example\nProxy-Authorization: Basic eA==\nX-A: 1"
            assert (await one.ask(asked)).endswith(b"\r\n\r\nhi")
            assert one.proxy.bytes > 0
    assert seen[0].startswith(b"GET /a?b=1 HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"x-a: 1" in seen[0]
    assert b"proxy" not in seen[0].lower()
    assert b"other.example" not in seen[0]
    [reported] = one.reported
    assert (reported.host, reported.port, reported.outcome) == ("127.0.0.1", port, "closed")
    assert reported.sent > 0 < reported.received


async def test_a_tunnel_carries_bytes_both_ways_and_counts_them(socket: Path) -> None:
    seen: list[bytes] = []
    async with server(b"answer", seen) as port:
        host = f"127.0.0.1:{port}"
        async with way(socket, host, allowed=host) as one:
            answer = await one.ask(f"CONNECT {host} HTTP/1.1\nHost: {host}", b"hello\r\n\r\n")
    assert answer.partition(b"\r\n\r\n")[2] == b"answer"
    assert seen == [b"hello\r\n\r\n"]
    assert [(reported.sent, reported.received) for reported in one.reported] == [(9, 6)]
    assert one.proxy.bytes == 15


async def test_a_web_socket_goes_through_a_tunnel(socket: Path) -> None:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0) as listening:
        host = f"127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}"
        async with way(socket, host, allowed=host) as one:

            async def carry(reader: StreamReader, writer: StreamWriter) -> None:
                await one.proxy.handle(
                    reader, writer
                )  # a stream from anywhere, as a worker's tunnel brings it

            async with await asyncio.start_server(carry, "127.0.0.1", 0) as near:
                proxy = f"http://127.0.0.1:{near.sockets[0].getsockname()[1]}"
                async with websocket_connect(f"ws://{host}", proxy=proxy) as ws:
                    await ws.send("a message")
                    assert await ws.recv() == "a message"


@pytest.mark.parametrize("method", ["CONNECT {host}", "GET http://{host}/"])
async def test_a_host_that_is_not_on_the_list_is_refused_and_reported_once(socket: Path, method: str) -> None:
    async with way(socket, "allowed.example") as one:
        for _ in range(3):
            answer = await one.ask(f"{method.format(host='evil.example:443')} HTTP/1.1\nHost: x")
            assert answer.startswith(b"HTTP/1.1 403 ")
            assert b"--network default,evil.example" in answer
    [reported] = one.reported
    assert (reported.host, reported.port, reported.outcome) == ("evil.example", 443, "refused")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:80", "localhost:80", "[::1]:80", "10.0.0.1:80", "192.168.1.1:443", "169.254.169.254:80",
        "100.100.100.200:80", "[fd00:ec2::254]:80", "[::ffff:127.0.0.1]:80", "[64:ff9b::a9fe:a9fe]:80",
        "0.0.0.0:80", "2130706433:80", "0x7f.1:80",
    ],
)  # fmt: skip
async def test_addresses_off_the_public_internet_are_refused_though_the_task_names_them(
    socket: Path, host: str
) -> None:
    async with way(socket, host) as one:
        answer = await one.ask(f"CONNECT {host} HTTP/1.1\nHost: x")
    assert answer.startswith(b"HTTP/1.1 403 "), answer
    assert b"RCLAUDE_OUTBOUND_ALLOW" in answer


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\nHost: pypi.org",
        "CONNECT pypi.org HTTP/1.1\nHost: x",
        "GET ftp://pypi.org/ HTTP/1.1\nHost: x",
        "nonsense",
        "POST http://pypi.org/ HTTP/1.1\nHost: x\nContent-Length: 3\nTransfer-Encoding: chunked",
    ],
)
async def test_what_is_no_request_for_a_proxy_is_a_400(socket: Path, head: str) -> None:
    async with way(socket, "default") as one:
        assert (await one.ask(head)).startswith(b"HTTP/1.1 400 ")


async def test_another_port_needs_to_be_named(socket: Path) -> None:
    policy = NetworkPolicy.parse("default,git.example:22,*.corp.example")
    assert policy.allows("git.example", 22)
    assert not policy.allows("git.example", 443)
    assert policy.allows("a.b.corp.example", 443)
    assert not policy.allows("corp.example", 443)
    assert not policy.allows("evilcorp.example", 443)
    first = default_hosts()[0][1][0]
    assert policy.allows(first.upper(), 443)
    assert not policy.allows(first, 22)
    assert NetworkPolicy.parse("none").hosts == ()


@pytest.mark.parametrize(
    "text", ["", "none,a.example", "a b", "https://a.example", "a.example:99999", "*", "*.*"]
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"host|port"):
        NetworkPolicy.parse(text)


async def test_the_end_of_the_attempt_cuts_what_is_open(socket: Path) -> None:
    async def hold(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as listening:
        host = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with way(socket, host, allowed=host) as one:
            reader, writer = await asyncio.open_unix_connection(str(socket))
            writer.write(f"CONNECT {host} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            await one.proxy.close()
            assert await reader.read() == b""
            writer.close()
        assert [reported.outcome for reported in one.reported] == ["closed"]


def test_the_page_of_the_default_hosts_is_the_list() -> None:
    assert (ROOT / "docs/reference/network.md").read_text() == page()
