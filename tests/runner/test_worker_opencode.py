"""The real OpenCode in a real worker, by the Agent Client Protocol, against a local Messages API."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from messages_api import MODEL, MessagesApi, Turn, messages_api, text, tool
from npm_agents import OPENCODE, installed
from remote_claude.runner.execution.verdict import judge_result
from remote_claude.runner.model_proxy import ModelProxy, Upstream
from remote_claude.worker.protocol.messages import PermissionAnswer
from workers import Stored, Worker, task, worker

KEY = "sk-ant-made-up-for-this-test"


@pytest.fixture(scope="module")
def opencode() -> Path:
    """The folder of the program; npm installs it once for a checkout."""
    return installed(*OPENCODE)


@asynccontextmanager
async def running(
    program: Path, stored: Stored, *turns: Turn, mode: str = "all", **more: Any
) -> AsyncIterator[tuple[Worker, ModelProxy, MessagesApi]]:
    given = task("write it", agent="opencode", model=MODEL, permission_mode=mode, lease_s=60.0)
    async with messages_api(*turns, **more) as api:
        upstream = Upstream.from_environment({"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": api.base_url})
        assert upstream
        with tempfile.TemporaryDirectory(prefix="rc-") as folder:
            socket = Path(folder) / "model.sock"
            streams = {"model": lambda: asyncio.open_unix_connection(str(socket))}
            path = {"PATH": f"{program}:{os.environ['PATH']}"}
            async with (
                ModelProxy(socket, upstream) as proxy,
                worker(given, stored, env=path, streams=streams) as one,
            ):
                yield one, proxy, api


async def until(stored: Stored, kind: str, count: int) -> None:
    async with asyncio.timeout(90):
        while len(stored.of(kind)) < count:
            stored.grown.clear()
            await stored.grown.wait()


@pytest.mark.timeout(180)
async def test_opencode_edits_asks_and_says_what_it_has_done(opencode: Path) -> None:
    """Its model calls are measured, each use of a tool is asked, and a person's answers decide."""
    stored = Stored()
    turns = (
        [tool("bash", command="echo yes > made.txt; cat made.txt", description="first")],
        [tool("bash", command="echo no > denied.txt", description="second")],
        [text("All done.")],
    )
    async with running(opencode, stored, *turns, mode="ask") as (one, proxy, api):
        result = asyncio.create_task(one.result())
        await until(stored, "permission_request", 1)
        await one.session.answer_permission(PermissionAnswer(request="1-1", decision="allow"))
        await until(stored, "permission_request", 2)
        await one.session.answer_permission(PermissionAnswer(request="1-2", decision="deny"))
        ended = await result
        made = {path.name for path in (one.folder / "workspace").iterdir()}
    assert (ended.outcome, ended.reason) == ("succeeded", None), stored.frames
    assert made == {"made.txt"}
    assert [frame["decision"] for frame in stored.of("permission_answer")] == ["allow", "deny"]
    first, second = stored.of("tool_result")
    assert (first["content"], first["is_error"], second["is_error"]) == ("yes\n", False, True)
    assert stored.of("usage")[-1]["cost_nano_usd"] > 0
    used = proxy.usage().cumulative.model_use
    assert [(use.model, use.calls) for use in used] == [(MODEL, len(api.requests))]
    assert KEY in {request["headers"]["x-api-key"] for request in api.requests}


@pytest.mark.timeout(180)
async def test_a_key_that_the_model_refuses_ends_opencode_at_once_with_the_reason(opencode: Path) -> None:
    stored = Stored()
    async with running(opencode, stored, key=("x-api-key", "another")) as (one, proxy, api):
        ended = judge_result(await one.result(), proxy.failure)
        asked = len(api.requests)
    assert (ended.outcome, ended.reason) == ("failed", "model_key_refused")
    assert asked <= 2, "a refused key is not tried again"
