"""Real agents in a real worker on other services than Anthropic's, through the proxy, against doubles of those services."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from messages_api import MessagesApi, served, text, tool
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
)
from npm_agents import CODEX, GEMINI, OPENCODE, installed
from remote_claude.contracts.users import ModelAccess
from remote_claude.runner.model_proxy import ModelProxy, Upstream
from remote_claude.worker.protocol.messages import PermissionAnswer
from workers import Stored, Worker, task, worker


@asynccontextmanager
async def running(
    agent: str,
    api: MessagesApi,
    access: ModelAccess,
    value: str,
    stored: Stored,
    *,
    path: Path | None = None,
    mode: str = "all",
) -> AsyncIterator[tuple[Worker, ModelProxy]]:
    given = task(
        "write it",
        agent=agent,
        model=access.model or api.model,
        model_api=access.provider,
        model_region=access.region,
        model_project=access.project,
        permission_mode=mode,
        lease_s=60.0,
    )
    with tempfile.TemporaryDirectory(prefix="rc-") as folder:
        socket = Path(folder) / "model.sock"
        streams = {"model": lambda: asyncio.open_unix_connection(str(socket))}
        env = {"PATH": f"{path}:{os.environ['PATH']}"} if path else None
        async with (
            ModelProxy(socket, Upstream.of_customer(access, value)) as proxy,
            worker(given, stored, env=env, streams=streams) as one,
        ):
            yield one, proxy


def access(api: MessagesApi, provider: Any, **more: Any) -> ModelAccess:
    return ModelAccess(provider=provider, base_url=api.base_url, header="authorization", **more)


def made(one: Worker) -> dict[str, str]:
    return {path.name: path.read_text() for path in (one.folder / "workspace").iterdir() if path.is_file()}


BASH = (
    [tool("Bash", command="echo yes > made.txt", description="writes")],
    [text("All done.")],
)


async def test_claude_code_works_on_bedrock() -> None:
    stored, value = Stored(), f"{AWS_KEY}:{AWS_SECRET}"
    async with served(BedrockService(BASH)) as api:
        model = "us.anthropic.claude-sonnet-5-20260101-v1:0"
        given = access(api, "bedrock", region=REGION, model=model)
        async with running("claude", api, given, value, stored) as (one, proxy):
            result = await one.result()
            assert made(one) == {"made.txt": "yes\n"}, (result, stored.frames)
    assert (result.outcome, result.summary) == ("succeeded", "All done.")
    uses = proxy.usage().cumulative.model_use
    assert {(use.provider, use.model, use.unknown) for use in uses} == {("bedrock", "claude-sonnet-5", False)}
    assert sum(use.calls for use in uses) == len(api.requests)


async def test_claude_code_works_on_vertex() -> None:
    stored = Stored()
    async with served(VertexService(BASH)) as api:
        given = access(api, "vertex", region=REGION, project=PROJECT, model="claude-sonnet-5@20260101")
        async with running("claude", api, given, service_account(api.base_url), stored) as (one, proxy):
            result = await one.result()
            assert made(one) == {"made.txt": "yes\n"}, (result, stored.frames)
    assert (result.outcome, result.summary) == ("succeeded", "All done.")
    uses = proxy.usage().cumulative.model_use
    assert {(use.provider, use.model) for use in uses} == {("vertex", "claude-sonnet-5")}


async def test_opencode_works_on_a_service_compatible_with_openai() -> None:
    stored = Stored()
    turns = (
        [tool("bash", command="echo yes > made.txt", description="writes")],
        [text("All done.")],
    )
    async with served(OpenAiService(turns)) as api:
        given = access(api, "openai").model_copy(update={"base_url": f"{api.base_url}/v1"})
        key = "sk-made-up-for-this-test"
        path = installed(*OPENCODE)
        async with running("opencode", api, given, key, stored, path=path) as (one, proxy):
            result = await one.result()
            assert made(one) == {"made.txt": "yes\n"}, (result, stored.frames)
    assert (result.outcome, result.summary) == ("succeeded", "All done.")
    [use] = proxy.usage().cumulative.model_use
    assert (use.provider, use.model, use.calls, use.estimated) == ("openai", api.model, len(api.requests), 0)


@pytest.mark.nightly
@pytest.mark.timeout(600)
async def test_codex_asks_and_works_by_responses() -> None:
    """Its program and the adapter have half a gigabyte."""
    stored = Stored()
    turns = (
        [
            tool(
                "exec_command",
                cmd="echo yes > made.txt",
                sandbox_permissions="require_escalated",
                justification="to write it",
            )
        ],
        [text("All done.")],
    )
    async with served(OpenAiService(turns)) as api:
        given = access(api, "openai").model_copy(update={"base_url": f"{api.base_url}/v1"})
        key = "sk-made-up-for-this-test"
        path = installed(*CODEX)
        async with running("codex", api, given, key, stored, path=path, mode="ask") as (one, proxy):
            ending = asyncio.create_task(one.result())
            async with asyncio.timeout(90):
                while not stored.of("permission_request") and not ending.done():
                    stored.grown.clear()
                    await asyncio.wait(
                        [ending, asyncio.create_task(stored.grown.wait())], return_when="FIRST_COMPLETED"
                    )
            await one.session.answer_permission(PermissionAnswer(request="1-1", decision="allow"))
            result = await ending
            assert made(one) == {"made.txt": "yes\n"}, (result, stored.frames, api.requests)
    assert (result.outcome, result.summary) == ("succeeded", "All done.")
    [use] = proxy.usage().cumulative.model_use
    assert (use.provider, use.model, use.estimated) == ("openai", api.model, 0)


@pytest.mark.nightly
@pytest.mark.timeout(600)
async def test_gemini_works_by_its_own_api() -> None:
    stored = Stored()
    turns = (
        [tool("run_shell_command", command="echo yes > made.txt")],
        [text("All done.")],
    )
    async with served(GeminiService(turns)) as api:
        path = installed(*GEMINI)
        _, key = api.key
        async with running("gemini", api, access(api, "gemini"), key, stored, path=path) as (one, proxy):
            result = await one.result()
            assert made(one) == {"made.txt": "yes\n"}, (result, stored.frames, api.requests)
    assert (result.outcome, result.summary) == ("succeeded", "All done.")
    assert {use.provider for use in proxy.usage().cumulative.model_use} == {"gemini"}
