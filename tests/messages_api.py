"""A local Messages API that plays scripted turns, as server-sent events: what the real Claude Code is driven against.

It listens on loopback, remembers every request, and wants the key that it was given.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any, TypeAlias, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Block: TypeAlias = dict[str, Any]
Turn: TypeAlias = Sequence[Block]
Api = TypeVar("Api", bound="MessagesApi")
MODEL = "claude-sonnet-5"
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


def text(words: str) -> Block:
    return {"type": "text", "text": words}


def thinking(words: str) -> Block:
    return {"type": "thinking", "thinking": words, "signature": "c2lnbmVk"}


def tool(name: str, **given: Any) -> Block:
    return {"type": "tool_use", "name": name, "input": given}


def usage(number: int) -> dict[str, Any]:
    """What the turn of this number is said to have used: it writes the cache first, then reads it."""
    return {
        "input_tokens": 12 + number,
        "cache_creation_input_tokens": 4_000 if number == 0 else 150,
        "cache_read_input_tokens": 4_000 * min(number, 1),
        "cache_creation": {
            "ephemeral_5m_input_tokens": 1_000 if number == 0 else 150,
            "ephemeral_1h_input_tokens": 3_000 if number == 0 else 0,
        },
        "output_tokens": 80 + number,
        "service_tier": "standard",
    }


@dataclass
class MessagesApi:
    """`base_url` once it runs. After the last turn it says `Done.`; a request without tools gets a title."""

    turns: Sequence[Turn]
    key: tuple[str, str] = ("x-api-key", "sk-ant-made-up-for-this-test")
    model: str = MODEL
    statuses: list[int] = field(default_factory=list)
    """Statuses to fail the next calls with, first to last."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    """`{method, path, headers, body}` of each, as it came."""
    played: int = 0
    hold_after: int | None = None
    """A stream stops after so many events of its content, until `release` is set."""
    release: asyncio.Event = field(default_factory=asyncio.Event)
    base_url: str = ""

    def play(self, *turns: Turn, statuses: Sequence[int] = ()) -> None:
        """Another script, from its first turn; forgets the requests so far."""
        self.turns, self.played, self.statuses = turns, 0, list(statuses)
        self.requests.clear()

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/messages", self._messages, methods=["POST"]),
                Route("/v1/messages/count_tokens", self._count, methods=["POST"]),
                Route("/v1/models", self._models, methods=["GET"]),
                Route("/{path:path}", self._unknown, methods=["GET", "POST", "HEAD", "DELETE"]),
            ]
        )

    async def _messages(self, request: Request) -> Response:
        body = json.loads(await self.remember(request))
        if refused := self.refused(request):
            return refused
        if self.statuses:
            return _error(status := self.statuses.pop(0), _ERRORS[status], "as the script says")
        blocks, used, stop = self.next_turn(body)
        message = self.message()
        headers = {
            "request-id": f"req_{len(self.requests)}",
            "anthropic-organization-id": "org-of-the-operator",
        }
        if not body.get("stream"):
            return JSONResponse(
                message | {"content": blocks, "stop_reason": stop, "usage": used}, headers=headers
            )
        events = self.events(message, blocks, stop, used)
        return StreamingResponse(events, media_type="text/event-stream; charset=utf-8", headers=headers)

    def message(self) -> dict[str, Any]:
        """The next answer without its content."""
        return {
            "id": f"msg_{len(self.requests):04}",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "stop_sequence": None,
        }

    def next_turn(self, body: dict[str, Any]) -> tuple[Turn, dict[str, Any], str]:
        """What the script answers now: blocks with ids, their usage, and why the answer stops there."""
        if not body.get("tools"):
            blocks: Turn = [text("A title")]
            used = usage(0)
        else:
            blocks = self.turns[self.played] if self.played < len(self.turns) else [text("Done.")]
            used = usage(self.played)
            self.played += 1
        blocks = [
            b | {"id": f"toolu_{self.played:02}{n}"} if b["type"] == "tool_use" else b
            for n, b in enumerate(blocks)
        ]
        return blocks, used, "tool_use" if any(b["type"] == "tool_use" for b in blocks) else "end_turn"

    async def events(
        self, message: dict[str, Any], blocks: Turn, stop: str, used: dict[str, Any]
    ) -> AsyncIterator[str]:
        start = message | {"content": [], "stop_reason": None, "usage": used | {"output_tokens": 1}}
        yield _event("message_start", message=start)
        yield _event("ping")
        content = [event for index, block in enumerate(blocks) for event in _block(index, block)]
        for number, event in enumerate(content):
            if number == self.hold_after:
                await self.release.wait()
            yield event
        yield _event(
            "message_delta",
            delta={"stop_reason": stop, "stop_sequence": None},
            usage={"output_tokens": used["output_tokens"]},
        )
        yield _event("message_stop")

    async def _count(self, request: Request) -> Response:
        await self.remember(request)
        return self.refused(request) or JSONResponse({"input_tokens": 42})

    async def _models(self, request: Request) -> Response:
        await self.remember(request)
        return self.refused(request) or JSONResponse({"data": [{"id": self.model, "type": "model"}]})

    async def _unknown(self, request: Request) -> Response:
        await self.remember(request)
        return _error(404, "not_found_error", "no such path")

    async def remember(self, request: Request) -> bytes:
        """The body of a request, which is kept."""
        body = await request.body()
        self.requests.append(
            {
                "method": request.method,
                "path": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
                "headers": dict(request.headers),
                "body": body,
            }
        )
        return body

    def refused(self, request: Request) -> Response | None:
        """The answer to a request without the right key."""
        name, value = self.key
        if request.headers.get(name) == value:
            return None
        return _error(401, "authentication_error", "invalid x-api-key")


@asynccontextmanager
async def messages_api(*turns: Turn, **more: Any) -> AsyncIterator[MessagesApi]:
    """Serve these turns on a free port of loopback."""
    async with served(MessagesApi(turns, **more)) as api:
        yield api


@asynccontextmanager
async def served(api: Api) -> AsyncIterator[Api]:
    """Serve it on a free port of loopback."""
    config = uvicorn.Config(
        api.app(), host="127.0.0.1", port=0, log_level="warning", lifespan="off", timeout_graceful_shutdown=1
    )
    config.load()
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    api.base_url = f"http://127.0.0.1:{socket.getsockname()[1]}"
    serving = asyncio.create_task(server._serve([socket]))  # `serve` would take the process's signals
    try:
        yield api
    finally:
        api.release.set()
        server.should_exit = True
        await serving
        socket.close()


def _block(index: int, block: Block) -> Iterator[str]:
    match block["type"]:
        case "text":
            empty, deltas = (
                block | {"text": ""},
                [{"type": "text_delta", "text": piece} for piece in _pieces(block["text"])],
            )
        case "thinking":
            empty = block | {"thinking": "", "signature": ""}
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        case _:
            given = json.dumps(block["input"])
            empty = block | {"input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in _pieces(given)]
    yield _event("content_block_start", index=index, content_block=empty)
    for delta in deltas:
        yield _event("content_block_delta", index=index, delta=delta)
    yield _event("content_block_stop", index=index)


def _pieces(whole: str) -> list[str]:
    return [whole[at : at + 24] for at in range(0, len(whole), 24)] or [""]


def _event(kind: str, **more: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | more)}\n\n"


def _error(status: int, kind: str, message: str) -> Response:
    return JSONResponse({"type": "error", "error": {"type": kind, "message": message}}, status)


@contextmanager
def serving_in_a_thread(*turns: Turn, **more: Any) -> Iterator[MessagesApi]:
    """The same in a thread of its own, for tests that run the product's commands."""
    with served_in_a_thread(MessagesApi(turns, **more)) as api:
        yield api


@contextmanager
def served_in_a_thread(api: Api) -> Iterator[Api]:
    """Any of these services in a thread of its own."""
    ready, over = Event(), Event()

    async def serve() -> None:
        async with served(api):
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(30)
        yield api
    finally:
        over.set()
        thread.join()
