"""The model proxy in front of each kind of service, driven by the vendors' own clients, which check the doubles too."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import boto3
import httpx2
import openai
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from openai.types.chat import ChatCompletion
from openai.types.responses import Response as OpenAiResponse

from messages_api import MessagesApi, served, text, tool, usage
from model_services import (
    AWS_KEY,
    AWS_SECRET,
    PROJECT,
    REGION,
    BedrockService,
    GeminiService,
    OpenAiService,
    VertexService,
    service_account,
    total,
)
from remote_claude.access.model_credentials import CredentialUnusable, model_credential
from remote_claude.contracts.users import ModelAccess
from remote_claude.outbound import AllowedHosts
from remote_claude.runner.model_proxy import ModelProxy, Upstream
from remote_claude.runner.model_proxy.budget import Budget
from remote_claude.users.api.model_check import ModelKeyRefused, check_model

LOOPBACK = AllowedHosts.parse("127.0.0.1")
SONNET = "us.anthropic.claude-sonnet-5-20260101-v1:0"
ASK: Any = [{"role": "user", "content": "hi"}]
TOOL = {"name": "Bash", "description": "runs", "input_schema": {"type": "object"}}


@asynccontextmanager
async def proxied(
    access: ModelAccess, value: str, budget: Budget | None = None
) -> AsyncIterator[tuple[ModelProxy, str]]:
    """The proxy, and its address on loopback, as an agent in a sandbox has it."""
    with tempfile.TemporaryDirectory(prefix="rc-", dir="/tmp") as folder:
        socket = Path(folder) / "model.sock"
        async with ModelProxy(socket, Upstream.of_customer(access, value), budget=budget) as proxy:

            async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                inner, out = await asyncio.open_unix_connection(str(socket))
                await asyncio.gather(_copy(reader, out), _copy(inner, writer))

            async with await asyncio.start_server(carry, "127.0.0.1", 0) as server:
                yield proxy, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def used(proxy: ModelProxy) -> list[tuple[Any, ...]]:
    """Provider, model, calls and tokens of what was measured; whole, and on the customer's credential."""
    measured = proxy.usage()
    assert measured.open_calls == ()
    uses = measured.cumulative.model_use
    assert all(use.estimated == 0 and use.paid_by == "customer" for use in uses)
    return [(use.provider, use.model, use.calls, use.quantities) for use in uses]


def openai_tokens(*numbers: int) -> dict[str, int]:
    spent = [usage(number) for number in numbers]
    cached = sum(one["cache_read_input_tokens"] for one in spent)
    return {
        "input": sum(map(total, spent)) - cached,
        "output": sum(one["output_tokens"] for one in spent),
        **({"cache_read": cached} if cached else {}),
    }


def stored(api: MessagesApi, provider: Any, **more: Any) -> ModelAccess:
    return ModelAccess(provider=provider, base_url=api.base_url, header="authorization", **more)


async def test_openai_is_measured_streamed_or_not_and_hosted_tools_are_refused() -> None:
    key = "sk-made-up-for-this-test"
    async with served(OpenAiService([[text("One")], [text("Two")], [text("Three")]])) as api:
        access = stored(api, "openai").model_copy(update={"base_url": f"{api.base_url}/v1"})
        await check_model(access, key, LOOPBACK)
        with pytest.raises(ModelKeyRefused, match="Incorrect API key"):
            await check_model(access, "sk-another", LOOPBACK)
        async with proxied(access, key) as (proxy, url):
            client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="placeholder", max_retries=0)
            tools: Any = [{"type": "function", "function": {"name": "Bash", "parameters": {}}}]
            ask: Any = {"model": api.model, "tools": tools}
            said = ""
            stream: Any = await client.chat.completions.create(**ask, messages=ASK, stream=True)
            async for chunk in stream:
                said += "".join(choice.delta.content or "" for choice in chunk.choices)
            whole = await client.chat.completions.create(**ask, messages=ASK)
            ChatCompletion.model_validate(whole.model_dump(), strict=True)
            function: Any = {"type": "function", "name": "Bash", "parameters": {}, "strict": False}
            async for event in await client.responses.create(
                model=api.model, input="hi", tools=[function], stream=True
            ):
                last = event
            assert last.type == "response.completed"
            OpenAiResponse.model_validate(last.response.model_dump(), strict=True)
            hosted_tools: Any = (
                {"type": "web_search"},
                {"type": "mcp", "server_label": "x", "server_url": "https://x.example"},
            )
            for hosted in hosted_tools:
                with pytest.raises(openai.PermissionDeniedError, match="may not use tool"):
                    await client.responses.create(model=api.model, input="hi", tools=[hosted])
            picture: Any = [
                {"role": "user", "content": [{"type": "input_image", "image_url": "https://x.example/1"}]}
            ]
            with pytest.raises(openai.PermissionDeniedError, match="source 'url'"):
                await client.responses.create(model=api.model, input=picture)
    assert (said, whole.choices[0].message.content, last.response.output_text) == ("One", "Two", "Three")
    assert used(proxy) == [("openai", "gpt-made-up", 3, openai_tokens(0, 1, 2))]
    assert proxy.usage().cumulative.model_use[0].unknown
    calls = [request for request in api.requests if request["method"] == "POST"]
    assert {request["headers"]["authorization"] for request in calls} == {f"Bearer {key}"}
    assert json.loads(calls[0]["body"])["stream_options"] == {"include_usage": True}


async def test_bedrock_is_signed_outside_the_sandbox_and_measured() -> None:
    value = f"{AWS_KEY}:{AWS_SECRET}"
    async with served(BedrockService([[text("One")], [text("Two")], [text("Three")], [text("Four")]])) as api:
        access = stored(api, "bedrock", region=REGION, model=SONNET)
        await check_model(access, value, LOOPBACK)
        with pytest.raises(ModelKeyRefused, match="signature does not match"):
            await check_model(access, f"{AWS_KEY}:{AWS_SECRET[:-1]}x", LOOPBACK)
        async with proxied(access, value) as (proxy, url):
            client = boto3.client(
                "bedrock-runtime",
                region_name=REGION,
                endpoint_url=url,
                aws_access_key_id="AKIA-PLACEHOLDER",
                aws_secret_access_key="placeholder",
                config=Config(retries={"max_attempts": 1}),
            )
            body = json.dumps(
                {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": ASK, "tools": [TOOL]}
            )
            converse: Any = {
                "modelId": SONNET,
                "messages": [{"role": "user", "content": [{"text": "hi"}]}],
                "toolConfig": {"tools": [{"toolSpec": {"name": "Bash", "inputSchema": {"json": {}}}}]},
            }

            def calls() -> list[str]:
                whole = client.invoke_model(modelId=SONNET, body=body)
                streamed = client.invoke_model_with_response_stream(modelId=SONNET, body=body)
                events = [json.loads(event["chunk"]["bytes"]) for event in streamed["body"]]
                said = client.converse(**converse)["output"]["message"]["content"][0]["text"]
                parts = list(client.converse_stream(**converse)["stream"])
                assert parts[-1]["metadata"]["usage"]["outputTokens"] == usage(3)["output_tokens"]
                with pytest.raises(ClientError, match="not allowed from a sandbox"):
                    client.invoke_model(modelId="meta.llama-made-up", body=body)
                return [
                    json.loads(whole["body"].read())["content"][0]["text"],
                    "".join(e["delta"]["text"] for e in events if e["type"] == "content_block_delta"),
                    said,
                    parts[1]["contentBlockDelta"]["delta"]["text"],
                ]

            assert await asyncio.to_thread(calls) == ["One", "Two", "Three", "Four"]
    [(provider, model, count, tokens)] = used(proxy)
    assert (provider, model, count) == ("bedrock", "claude-sonnet-5", 4)
    assert tokens["output"] == sum(usage(n)["output_tokens"] for n in range(4))
    assert not proxy.usage().cumulative.model_use[0].unknown


async def test_vertex_gets_a_token_for_the_service_account_and_only_its_own_project_is_asked() -> None:
    async with served(VertexService([[text("One")], [text("Two")]])) as api:
        value = service_account(api.base_url)
        access = stored(api, "vertex", region=REGION, project=PROJECT, model="claude-sonnet-5@20260101")
        await check_model(access, value, LOOPBACK)
        with pytest.raises(ModelKeyRefused, match="invalid credentials"):
            await check_model(access, "ya29.another", LOOPBACK)
        async with proxied(access, value) as (proxy, url), httpx2.AsyncClient(base_url=url) as client:
            place = f"/v1/projects/{PROJECT}/locations/{REGION}/publishers/anthropic/models/{access.model}"
            body = {
                "anthropic_version": "vertex-2023-10-16",
                "max_tokens": 9,
                "messages": ASK,
                "tools": [TOOL],
            }
            whole = await client.post(f"{place}:rawPredict", json=body)
            streamed = await client.post(f"{place}:streamRawPredict", json=body | {"stream": True})
            other = await client.post(f"{place.replace(PROJECT, 'another')}:rawPredict", json=body)
    assert (whole.json()["content"][0]["text"], "message_stop" in streamed.text) == ("One", True)
    assert (other.status_code, len(api.tokens)) == (403, 2), "a token is kept"
    assert [one[:3] for one in used(proxy)] == [("vertex", "claude-sonnet-5", 2)]


async def test_gemini_is_measured_and_searches_are_refused() -> None:
    _, key = GeminiService.key
    async with served(GeminiService([[text("One")], [text("Two")]])) as api:
        access = stored(api, "gemini")
        await check_model(access, key, LOOPBACK)
        async with proxied(access, key) as (proxy, url), httpx2.AsyncClient(base_url=url) as client:
            ask = {
                "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
                "tools": [{"functionDeclarations": []}],
            }
            path = f"/v1beta/models/{api.model}"
            whole = await client.post(f"{path}:generateContent", json=ask)
            streamed = await client.post(f"{path}:streamGenerateContent?alt=sse", json=ask)
            refused = await client.post(
                f"{path}:generateContent", json=ask | {"tools": [{"googleSearch": {}}]}
            )
    assert (whole.is_success, streamed.is_success, refused.status_code) == (True, True, 403)
    assert used(proxy) == [("gemini", "gemini-made-up", 2, openai_tokens(0, 1))]


async def test_a_spent_budget_stops_every_kind_of_call_before_it_is_made() -> None:
    async with served(OpenAiService([[text("One")], [tool("Bash", command="true")]])) as api:
        access = stored(api, "openai").model_copy(update={"base_url": f"{api.base_url}/v1"})
        async with proxied(access, "sk-made-up-for-this-test", Budget(1)) as (proxy, url):
            client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="placeholder", max_retries=0)
            ask: Any = {"model": api.model, "messages": ASK}
            await client.chat.completions.create(**ask)
            with pytest.raises(openai.PermissionDeniedError, match="budget"):
                await client.chat.completions.create(**ask)
    assert len(api.requests) == 1
    assert proxy.failure is not None
    assert proxy.failure.reason == "budget_exhausted"


@pytest.mark.parametrize(
    ("provider", "value"), [("openai", "two words"), ("vertex", '{"type": "x"}'), ("vertex", "{")]
)
def test_a_value_that_is_no_credential_is_refused(provider: Any, value: str) -> None:
    with pytest.raises(CredentialUnusable):
        model_credential(
            ModelAccess(provider=provider, base_url="https://x.example", header="authorization"), value
        )
