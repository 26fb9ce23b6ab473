"""A client that says nothing, or says it slowly or at too great a length, costs the others nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from fastapi import FastAPI, Request

from product import Product
from remote_claude.edge import connections
from remote_claude.edge.connections import ConnectionLimits
from remote_claude.runtime.http import server as web
from servers import until

WHOLE = b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n"


@asynccontextmanager
async def serving(limits: ConnectionLimits) -> AsyncIterator[int]:
    """The port of a server with these limits."""
    app = FastAPI()

    @app.get("/ok")
    async def ok() -> str:
        return "ok"

    @app.post("/size")
    async def size(request: Request) -> int:
        return len(await request.body())

    server = web.server(app, "127.0.0.1", 0, limits)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        server.force_exit = True
        await running


async def answer(port: int, *pieces: bytes) -> bytes:
    """What comes back for what is sent, until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    try:
        async with asyncio.timeout(60):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with serving(ConnectionLimits(1000, head_s=0.1)) as port:
        assert await answer(port) == b""


async def test_headers_that_stop_coming_are_a_timeout() -> None:
    async with serving(ConnectionLimits(1000, head_s=0.1)) as port:
        got = await answer(port, b"GET /ok HTTP/1.1\r\nhost: x\r\n")
    assert got.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in got


async def test_a_body_that_stops_coming_is_a_timeout() -> None:
    async with serving(ConnectionLimits(1000, body_s=0.1)) as port:
        got = await answer(port, b"POST /size HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n", b"12345")
    assert got.startswith(b"HTTP/1.1 408 ")


async def test_headers_that_are_too_large_are_refused() -> None:
    async with serving(ConnectionLimits(1000)) as port:
        got = await answer(port, b"GET /ok HTTP/1.1\r\nhost: x\r\na: " + b"a" * connections.MAX_HEAD_BYTES)
        assert got.startswith(b"HTTP/1.1 431 ")
        many = b"".join(b"a%d: b\r\n" % n for n in range(20_000))
        assert (await answer(port, b"GET /ok HTTP/1.1\r\n" + many + b"\r\n")).startswith(b"HTTP/1.1 431 ")
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            large = await http.post("/size", headers={"a": "a" * 60_000}, content=b"x" * 300_000)
        assert (large.status_code, large.json()) == (200, 300_000)


async def test_silent_connections_give_way_to_one_that_asks() -> None:
    async with serving(ConnectionLimits(50, head_s=60)) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
        for _, writer in silent[::2]:
            writer.write(b"GET /ok HTTP/1.1\r\n")
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            assert (await http.get("/ok")).json() == "ok"
        for _, writer in silent:
            writer.close()


async def test_one_address_may_keep_so_many_silent_connections() -> None:
    async with serving(ConnectionLimits(1000, per_address=20, head_s=60)) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
        for reader, _ in silent[:20]:  # the oldest ones
            async with asyncio.timeout(60):
                assert await reader.read() == b""
        for _, writer in silent:
            writer.close()


async def test_a_thousand_connections_at_once_are_all_answered() -> None:
    async with serving(ConnectionLimits(2000)) as port:
        whole = WHOLE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        answers = await asyncio.gather(*(answer(port, whole) for _ in range(1000)))
    assert {a[:12] for a in answers} == {b"HTTP/1.1 200"}


async def test_a_connection_waits_for_its_next_request_longer_than_for_headers() -> None:
    async with serving(ConnectionLimits(1000, head_s=0.1)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(WHOLE)
            assert (await reader.readuntil(b'"ok"')).startswith(b"HTTP/1.1 200")
            assert await answer(port) == b""  # so long a request's headers may take
        writer.close()


def test_connections_leave_files_for_the_broker_and_the_database() -> None:
    for files in (4096, 20_000, 1_000_000):
        room = files - connections.most_connections(files) - connections.BACKLOG
        assert room >= connections.RESERVED_FILES


async def test_a_running_task_loses_nothing_under_half_open_connections(stack: Product) -> None:
    connections.raise_file_limit()
    task = stack.submit("for i in $(seq 50); do echo line $i; sleep 0.1; done")
    until(lambda: "line 1\n" in stack.output(task), "its first line", 60, pause=0.1)
    port = httpx2.URL(stack.stack_file()["url"]).port
    half_open = []
    for _ in range(6):
        half_open += await asyncio.gather(
            *(asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0)) for _ in range(500))
        )
        for _, writer in half_open[-500:]:
            writer.write(b"POST /v1/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
    done = await asyncio.to_thread(stack.ended, task)
    assert (done["state"], len(done["attempts"])) == ("succeeded", 1)
    assert stack.output(task).count("line ") == 50
    for _, writer in half_open:
        writer.close()
