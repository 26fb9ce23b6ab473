"""Where services run apart: the gateway passes on what it does not own, as it came."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from gateway_stack import running_gateway
from remote_claude.gateway.api.proxy import Routes
from remote_claude.runtime.http.server import HttpServer
from servers import Broker


@asynccontextmanager
async def owner() -> AsyncIterator[str]:
    """A service that says what it was asked."""
    app = FastAPI()

    @app.api_route("/v1/usage/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for n in range(50):
                yield bytes([n]) * 20_000

        return StreamingResponse(pieces(), headers={"X-From": "owner", "Connection": "X-Hop", "X-Hop": "1"})

    @app.websocket("/v1/workers/echo")
    async def echo_headers(peer: WebSocket) -> None:
        await peer.accept()
        await peer.send_json(dict(peer.headers))

    @app.websocket("/v1/workers/{runner}")
    async def worker(peer: WebSocket, runner: str) -> None:
        await peer.accept()
        await peer.send_text(f"{runner}: {await peer.receive_text()}")
        await peer.send_bytes(await peer.receive_bytes())
        await peer.close(4410, "the attempt is over")

    @app.api_route("/{path:path}", methods=["GET", "POST", "DELETE"])
    async def echo(request: Request, path: str) -> JSONResponse:
        body = await request.body()
        answer = JSONResponse(
            {
                "method": request.method,
                "path": request.scope["raw_path"].decode(),
                "query": request.url.query,
                "headers": dict(request.headers),
                "size": len(body),
            },
            status_code=418,
            headers={"Set-Cookie": "one=1"},
        )
        answer.headers.append("Set-Cookie", "two=2")
        return answer

    server = HttpServer(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
        await asyncio.sleep(0)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


async def test_a_worker_reaches_its_runner_through_the_gateway(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path
) -> None:
    async with owner() as base:
        routes = {
            "/v1/workers/echo": base,
            "/v1/workers/runner_1": base,
            "/v1/workers/runner_2": "http://127.0.0.1:1",
        }
        settings = {"RCLAUDE_GATEWAY_ROUTES": json.dumps(routes)}
        async with running_gateway(fresh_nats, postgres_dsn, tmp_path, settings) as stack:
            base_url = str((await stack.member()).http.base_url).replace("http", "ws", 1).rstrip("/")
            async with connect(f"{base_url}/v1/workers/runner_1", proxy=None) as ws:
                await ws.send("hello")
                assert await ws.recv() == "runner_1: hello"
                await ws.send(b"bytes")
                assert await ws.recv() == b"bytes"
                with pytest.raises(ConnectionClosed):
                    await ws.recv()
                assert (ws.close_code, ws.close_reason) == (4410, "the attempt is over")
            mine = {
                "Cookie": "rclaude-80=mine",
                "Origin": "http://127.0.0.1",
                "X-Forwarded-For": "8.8.8.8, 9.9.9.9",
            }
            async with connect(f"{base_url}/v1/workers/echo", additional_headers=mine, proxy=None) as ws:
                headers = json.loads(await ws.recv())
            assert [headers[n] for n in ("cookie", "origin")] == ["rclaude-80=mine", "http://127.0.0.1"]
            assert headers["x-forwarded-for"] == "9.9.9.9", "the address as the last proxy gave it"
            for runner, code in (("runner_2", 1013), ("runner_3", 4404)):
                async with connect(f"{base_url}/v1/workers/{runner}", proxy=None) as ws:
                    with pytest.raises(ConnectionClosed):
                        await ws.recv()
                    assert ws.close_code == code


async def test_what_the_gateway_does_not_own_goes_to_its_owner(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path
) -> None:
    async with owner() as base:
        routes = {"/v1/usage": base, "/v1/tasks/*/bill": base, "/v1/down": "http://127.0.0.1:1"}
        settings = {"RCLAUDE_GATEWAY_ROUTES": json.dumps(routes)}
        async with running_gateway(fresh_nats, postgres_dsn, tmp_path, settings) as stack:
            member = await stack.member()
            http = member.http
            answer = await http.post(
                "/v1/usage/a%2Fb?x=1&x=%C3%A9",
                content=b"y" * 1_000_000,
                headers={"X-Mine": "1", "TE": "trailers"},
            )
            said: dict[str, Any] = answer.json()
            assert (answer.status_code, said["method"], said["size"]) == (418, "POST", 1_000_000)
            assert answer.headers.get_list("set-cookie") == ["one=1", "two=2"]
            assert (said["path"], said["query"]) == ("/v1/usage/a%2Fb", "x=1&x=%C3%A9")
            assert said["headers"]["authorization"] == member.headers["Authorization"]
            assert said["headers"]["x-mine"] == "1"
            assert "te" not in said["headers"]
            assert said["headers"]["host"] == base.removeprefix("http://")

            answer = await http.get("/v1/usage/stream")
            assert answer.content == b"".join(bytes([n]) * 20_000 for n in range(50))
            assert answer.headers["x-from"] == "owner"
            assert "x-hop" not in answer.headers

            assert (await http.get("/v1/tasks/task_1/bill")).json()["path"] == "/v1/tasks/task_1/bill"
            assert (await http.get("/v1/tasks")).json()["tasks"] == []  # the gateway's own
            answer = await http.get("/v1/down")
            assert (answer.status_code, answer.json()["code"]) == (502, "owner_unreachable")
            answer = await http.get("/v1/nobody")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/v1/usage", "a"),
        ("/v1/usage/2026", "a"),
        ("/v1/usages", None),
        ("/v1/tasks/x/bill", "b"),
        ("/v1/tasks/x/bill/lines", "b"),
        ("/v1/tasks/x", None),
        ("/v1/usage/special", "c"),
        ("/", None),
    ],
)
def test_the_longest_pattern_that_fits_names_the_owner(path: str, owner: str | None) -> None:
    routes = Routes({"/v1/usage": "a", "/v1/tasks/*/bill": "b", "/v1/usage/special": "c"})
    assert routes.owner(path) == owner
