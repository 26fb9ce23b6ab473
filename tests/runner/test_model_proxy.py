"""The model proxy between a client on its socket and a Messages API over TCP."""

from __future__ import annotations

import asyncio
import gzip
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from messages_api import MODEL, MessagesApi, messages_api, text, usage
from remote_claude.contracts.model_prices import list_prices
from remote_claude.contracts.runner import ModelUse
from remote_claude.runner.model_proxy import ModelProxy, Upstream, published_prices
from remote_claude.runner.model_proxy.failures import ModelFailure
from remote_claude.runner.model_proxy.proxy import MAX_IN_FLIGHT
from remote_claude.runner.model_proxy.sandbox_requests import MAX_BODY

KEY = "sk-ant-made-up-for-this-test"
ASK = {
    "model": MODEL,
    "max_tokens": 100,
    "tools": [{"name": "Bash"}],
    "messages": [{"role": "user", "content": "hi"}],
}


@pytest.fixture
def socket() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rc-", dir="/tmp") as folder:
        yield Path(folder) / "model.sock"


@asynccontextmanager
async def proxied(socket: Path, api: MessagesApi) -> AsyncIterator[tuple[ModelProxy, httpx2.AsyncClient]]:
    upstream = Upstream.from_environment({"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": api.base_url + "/"})
    assert upstream
    transport = httpx2.AsyncHTTPTransport(uds=str(socket))
    async with (
        ModelProxy(socket, upstream) as proxy,
        httpx2.AsyncClient(transport=transport, base_url="http://model") as client,
    ):
        yield proxy, client


async def raw(socket: Path, head: str) -> bytes:
    """Everything that is answered to this head."""
    reader, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(head.encode() + b"\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


def cost(*usages: dict[str, Any], model: str = MODEL) -> int:
    price = list_prices().price(model)
    return sum(
        u["input_tokens"] * price.input
        + u["output_tokens"] * price.output
        + u["cache_read_input_tokens"] * price.cache_read
        + u["cache_creation"]["ephemeral_5m_input_tokens"] * price.cache_write_5m
        + u["cache_creation"]["ephemeral_1h_input_tokens"] * price.cache_write_1h
        for u in usages
    )


async def test_stream_passes_and_is_measured_to_the_token(socket: Path) -> None:
    async with messages_api([text("Hello, world")]) as api, proxied(socket, api) as (proxy, client):
        answer = await client.post("/v1/messages?beta=true", json=ASK | {"stream": True})
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "message_stop" in answer.text
        assert api.requests[0]["path"] == "/v1/messages?beta=true"
        await client.post("/v1/messages", json=ASK)  # not streamed
        measured = proxy.usage()
    assert measured.open_calls == ()
    assert measured.cumulative.model_use == (
        ModelUse(
            provider="anthropic",
            model=MODEL,
            calls=2,
            quantities={
                "input": 25,
                "output": 161,
                "cache_read": 4000,
                "cache_write_5m": 1150,
                "cache_write_1h": 3000,
            },
        ),
    )
    assert measured.cumulative.model_nano_usd == cost(usage(0), usage(1))
    assert measured.cumulative.price_table == list_prices().version


async def test_only_the_operators_credential_leaves_and_none_comes_back(socket: Path) -> None:
    async with messages_api([text("Hello")]) as api, proxied(socket, api) as (_, client):
        stolen = {
            "x-api-key": "sk-ant-stolen",
            "authorization": "Bearer stolen",
            "cookie": "a=stolen",
            "x-evil": "1",
        }
        headers = stolen | {"anthropic-version": "2023-06-01", "accept-encoding": "gzip"}
        answer = await client.post("/v1/messages", json=ASK, headers=headers)
        assert answer.status_code == 200
        assert KEY not in str(answer.headers) + answer.text
        assert "anthropic-organization-id" not in answer.headers
        assert answer.headers["request-id"] == "req_1"
        sent = api.requests[0]["headers"]
    assert sent["x-api-key"] == KEY
    assert sent["anthropic-version"] == "2023-06-01"
    assert sent["accept-encoding"] == "identity"
    assert not {"authorization", "cookie", "x-evil"} & sent.keys()


async def test_auth_token_goes_as_bearer(socket: Path) -> None:
    async with messages_api(key=("authorization", "Bearer made-up")) as api:
        upstream = Upstream.from_environment(
            {"ANTHROPIC_AUTH_TOKEN": "made-up", "ANTHROPIC_BASE_URL": api.base_url}
        )
        assert upstream
        assert "made-up" not in repr(upstream)
        async with ModelProxy(socket, upstream), httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=str(socket)), base_url="http://model"
        ) as client:  # fmt: skip
            assert (await client.post("/v1/messages", json=ASK)).status_code == 200
            assert "x-api-key" not in api.requests[0]["headers"]


def test_without_a_key_there_is_no_upstream() -> None:
    assert Upstream.from_environment({"ANTHROPIC_BASE_URL": "http://localhost"}) is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/messages"),
        ("POST", "/v1/files"),
        ("GET", "/v1/organizations/me"),
        ("GET", "/v1/models/../organizations"),
        ("GET", "/v1/models/%2e%2e/organizations"),
        ("HEAD", "/"),
        ("POST", "//v1/messages"),
        ("DELETE", "/v1/models/a"),
    ],
)
async def test_other_calls_are_refused(socket: Path, method: str, path: str) -> None:
    async with messages_api() as api, proxied(socket, api):
        answer = await raw(socket, f"{method} {path} HTTP/1.1\r\nhost: model\r\ncontent-length: 0")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 403")
        if method != "HEAD":
            assert (
                json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])["error"]["type"]
                == "permission_error"
            )
        assert api.requests == []


async def test_models_and_token_counts_pass_and_cost_nothing(socket: Path) -> None:
    async with messages_api() as api, proxied(socket, api) as (proxy, client):
        assert (await client.get("/v1/models")).json()["data"][0]["id"] == MODEL
        assert (await client.post("/v1/messages/count_tokens", json=ASK)).json() == {"input_tokens": 42}
        assert proxy.usage().cumulative.model_use == ()


async def test_errors_of_the_model_pass_unchanged(socket: Path) -> None:
    async with messages_api(statuses=[529]) as api, proxied(socket, api) as (proxy, client):
        answer = await client.post("/v1/messages", json=ASK)
        assert (answer.status_code, answer.json()["error"]["type"]) == (529, "overloaded_error")
        assert proxy.usage().cumulative.model_use == ()


async def test_unreachable_model_is_a_502_in_the_models_shape(socket: Path) -> None:
    api = MessagesApi([], base_url="http://127.0.0.1:9")
    async with proxied(socket, api) as (_, client):
        answer = await client.post("/v1/messages", json=ASK)
    assert answer.status_code == 502
    assert answer.json()["error"]["type"] == "api_error"


async def test_the_models_own_sentence_is_kept_until_a_call_succeeds(socket: Path) -> None:
    async with messages_api(statuses=[529]) as api, proxied(socket, api) as (proxy, client):
        await client.post("/v1/messages", json=ASK)
        assert proxy.failure == ModelFailure(
            "model_overloaded",
            "The model's service answered 529: as the script says. Run the task again later.",
        )
        await client.post("/v1/messages", json=ASK)
        assert proxy.failure is None


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, "model_call_refused"),
        (401, "model_key_refused"),
        (404, "model_unknown"),
        (429, "model_rate_limited"),
        (500, "model_failed"),
        (529, "model_overloaded"),
    ],
)
async def test_errors_of_the_model_have_different_codes(socket: Path, status: int, reason: str) -> None:
    async with messages_api(statuses=[status]) as api, proxied(socket, api) as (proxy, client):
        answer = await client.post("/v1/messages", json=ASK)
        assert answer.headers.get("x-should-retry") == ("false" if status == 401 else None)
        assert proxy.failure is not None
        assert proxy.failure.reason == reason


async def test_an_unreachable_model_is_named(socket: Path) -> None:
    async with proxied(socket, MessagesApi([], base_url="http://127.0.0.1:9")) as (proxy, client):
        await client.post("/v1/messages", json=ASK)
        assert proxy.failure is not None
        assert proxy.failure.reason == "model_unreachable"


async def test_a_stream_that_ends_without_its_end_is_cut_for_the_client_too(socket: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        start = {"type": "message_start", "message": {"model": MODEL, "usage": usage(0)}}
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        writer.write(f"{head}data: {json.dumps(start)}\n\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        api = MessagesApi([], base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with proxied(socket, api) as (proxy, client):
            with pytest.raises(httpx2.HTTPError):
                await client.post("/v1/messages", json=ASK | {"stream": True})
            assert proxy.failure is not None
            assert proxy.failure.reason == "model_answer_cut"
            [used] = proxy.usage().cumulative.model_use
            assert (used.calls, used.estimated) == (1, 1)


async def test_a_call_that_is_hung_up_on_before_its_answer_is_counted(socket: Path) -> None:
    asked = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        api = MessagesApi([], base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with proxied(socket, api) as (proxy, client):
            asking = asyncio.create_task(client.post("/v1/messages", json=ASK))
            async with asyncio.timeout(60):
                await asked.wait()
                asking.cancel()
                while proxy.usage().open_calls:  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.01)
            [used] = proxy.usage().cumulative.model_use
            assert (used.model, used.calls, used.estimated) == (MODEL, 1, 1)
            assert proxy.usage().cumulative.model_nano_usd > 0


async def test_two_lengths_of_one_body_are_refused_with_an_answer(socket: Path) -> None:
    async with messages_api() as api, proxied(socket, api):
        answer = await raw(
            socket,
            "POST /v1/messages HTTP/1.1\r\nhost: m\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0",
        )
        assert answer.startswith(b"HTTP/1.1 400")
        assert api.requests == []


async def test_a_call_that_reaches_other_hosts_is_refused_and_says_how_to_allow_it(socket: Path) -> None:
    servers = [{"type": "url", "name": "x", "url": "https://evil.example"}]
    headers = {"anthropic-beta": "claude-code-20250219,mcp-client-2025-04-04"}
    async with messages_api() as api, proxied(socket, api) as (proxy, client):
        answer = await client.post("/v1/messages", json=ASK | {"mcp_servers": servers})
        assert answer.status_code == 403
        assert "RCLAUDE_RUNNER_MODEL_ALLOW=field:mcp_servers" in answer.json()["error"]["message"]
        assert api.requests == []
        assert proxy.usage().cumulative.model_use == ()
        await client.post("/v1/messages", json=ASK, headers=headers)
        assert api.requests[0]["headers"]["anthropic-beta"] == "claude-code-20250219"


async def test_event_arrives_before_the_answer_has_ended(socket: Path) -> None:
    async with (
        messages_api([text("x" * 200)], hold_after=1) as api,
        proxied(socket, api) as (_, client),
        client.stream("POST", "/v1/messages", json=ASK | {"stream": True}) as answer,
        asyncio.timeout(60),
    ):
        lines = answer.aiter_lines()
        while "content_block_start" not in await anext(lines):
            pass
        api.release.set()
        assert "message_stop" in "".join([line async for line in lines])


async def test_answer_cut_by_the_client_counts_what_was_seen(socket: Path) -> None:
    async with (
        messages_api([text("x" * 4_000)], hold_after=101) as api,
        proxied(socket, api) as (proxy, client),
    ):
        async with client.stream("POST", "/v1/messages", json=ASK | {"stream": True}) as answer:
            seen = 0
            async for line in answer.aiter_lines():
                seen += "text_delta" in line
                if seen == 100:
                    break
        async with asyncio.timeout(60):
            while proxy.usage().open_calls:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        [used] = proxy.usage().cumulative.model_use
    assert (used.calls, used.estimated) == (1, 1)
    assert used.quantities["input"] == 12
    assert used.quantities["output"] == 100 * 24 // 4


async def test_revoked_proxy_refuses_and_cuts_what_goes_on(socket: Path) -> None:
    async with messages_api([text("x" * 200)], hold_after=1) as api, proxied(socket, api) as (proxy, client):
        async with client.stream("POST", "/v1/messages", json=ASK | {"stream": True}) as answer:
            chunks = answer.aiter_bytes()
            await anext(chunks)
            proxy.revoke()
            with pytest.raises(httpx2.HTTPError):
                async for _ in chunks:
                    pass
        refused = await client.post("/v1/messages", json=ASK)
        assert refused.status_code == 403
        assert "over" in refused.json()["error"]["message"]
        assert proxy.usage().cumulative.model_use[0].calls == 1
    with pytest.raises(FileNotFoundError):
        await asyncio.open_unix_connection(str(socket))


async def test_body_over_the_limit_is_refused(socket: Path) -> None:
    async with messages_api() as api, proxied(socket, api) as (_, client):

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(MAX_BODY // 1_000_000 + 2):
                yield b"x" * 1_000_000

        announced = await raw(
            socket, f"POST /v1/messages HTTP/1.1\r\nhost: m\r\ncontent-length: {MAX_BODY + 1}"
        )
        assert announced.startswith(b"HTTP/1.1 413")
        streamed = await client.post("/v1/messages", content=endless())
        assert (streamed.status_code, streamed.json()["error"]["type"]) == (413, "request_too_large")
        assert api.requests == []


async def test_too_many_calls_at_once_are_refused(socket: Path) -> None:
    async with (
        messages_api([text("x" * 100)] * 100, hold_after=1) as api,
        proxied(socket, api) as (_, client),
    ):
        several = [
            asyncio.create_task(client.post("/v1/messages", json=ASK | {"stream": True}))
            for _ in range(MAX_IN_FLIGHT + 5)
        ]
        done, _ = await asyncio.wait(several, return_when=asyncio.FIRST_COMPLETED)
        assert all(one.result().status_code == 429 for one in done)
        api.release.set()
        statuses = sorted([(await one).status_code for one in several])
    assert statuses == [200] * MAX_IN_FLIGHT + [429] * 5


async def test_compressed_answer_is_read_all_the_same(socket: Path) -> None:
    body = gzip.compress(json.dumps({"model": MODEL, "usage": usage(0), "content": []}).encode())

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        api = MessagesApi([], base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with proxied(socket, api) as (proxy, client):
            assert (await client.post("/v1/messages", json=ASK)).json()["model"] == MODEL
            assert proxy.usage().cumulative.model_nano_usd == cost(usage(0))


async def test_unknown_model_costs_as_much_as_the_dearest_and_is_named(socket: Path) -> None:
    async with (
        messages_api([text("hi")], model="claude-next-9") as api,
        proxied(socket, api) as (proxy, client),
    ):
        await client.post("/v1/messages", json=ASK)
        cumulative = proxy.usage().cumulative
    [used] = cumulative.model_use
    assert (used.model, used.unknown, used.quantities["input"]) == ("claude-next-9", True, 12)
    assert cumulative.model_nano_usd == cost(usage(0), model="claude-opus-4-1")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("claude-opus-4-0", "claude-opus-4"),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku"),
        ("claude-sonnet-5[1m]", "claude-sonnet-5"),
        ("claude-opus-5-5", "claude-opus-5-5"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-1-20250805-v1:0",
            "claude-opus-4-1",
        ),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("publishers/anthropic/models/claude-opus-5@default", "claude-opus-5"),
        ("anthropic/claude-opus-5", "claude-opus-5"),
    ],
)
def test_model_is_priced_by_its_name_without_date(model: str, name: str) -> None:
    assert published_prices.canonical(model) == name
    assert list_prices().is_known(name, "standard")


def test_long_prompts_and_fast_answers_have_their_own_price() -> None:
    assert list_prices().prompt_class("claude-haiku-5-5", 100_000) == "standard"
    assert list_prices().prompt_class("claude-haiku-5-5", 100_001) == "long"
    assert list_prices().price("claude-haiku-5-5", prompt="long").input == 500
    assert list_prices().price("claude-opus-5", speed="fast").output == 50_000
