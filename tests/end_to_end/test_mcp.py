"""Tasks from an MCP client, by the official client library."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from product import BIN, Product
from servers import until


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content


async def ended(client: Client, task: str) -> tuple[Any, str]:
    """The task at its end, and all of its output."""
    cursor, output = None, ""
    while True:
        seen = await call(client, "watch_task", task=task, cursor=cursor)
        cursor, output = seen["cursor"], output + seen["output"]
        if seen["task"]["ended"]:
            return seen["task"], output


@pytest.mark.asyncio
async def test_a_client_runs_watches_takes_and_cancels_over_standard_input(
    stack: Product, repo: Path
) -> None:
    server = StdioServerParameters(command=str(BIN / "rclaude"), args=["mcp"], env=stack.env, cwd=repo)
    async with Client(stdio_client(server)) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"run_task", "watch_task", "diff_task", "apply_task", "cancel_task"} <= names
        started = await call(client, "run_task", prompt="echo said; echo more >> README.md", agent="shell")
        task, output = await ended(client, started["id"])
        assert (task["state"], output) == ("succeeded", "said\nexit 0")
        assert task["cost_nano_usd"] == stack.ok("bill", task["id"], "--json").json["total_nano_usd"]
        assert "+more" in (await call(client, "diff_task", task=task["id"]))["patch"]
        applied = await call(client, "apply_task", task=task["id"])
        assert applied["files"] == ["README.md"]
        assert (repo / "README.md").read_text() == "hello\nmore\n"

        waits = await call(client, "run_task", prompt="sleep 600", agent="shell", without_repository=True)
        await call(client, "cancel_task", task=waits["id"])
        assert (await ended(client, waits["id"]))[0]["state"] == "cancelled"
        refused = await client.call_tool("run_task", {"prompt": "true", "agent": "gpt"})
        assert refused.is_error
        assert "unknown_agent" in str(refused.content)


def test_over_http_each_client_brings_its_own_key(stack: Product, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/mcp"
    key = Path(stack.stack_file()["api_key"]).read_text().strip()
    command = stack.command("mcp", "--http", str(port))
    with subprocess.Popen(command, env=stack.env, cwd=tmp_path) as process:
        try:
            until(lambda: _status(url) == httpx2.codes.UNAUTHORIZED, "the server", 60, pause=0.1)
            asyncio.run(_over_http(url, key))
        finally:
            process.terminate()


async def _over_http(url: str, key: str) -> None:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        assert "apply_task" not in {tool.name for tool in (await client.list_tools()).tools}
        started = await call(client, "run_task", prompt="echo said", agent="shell")
        task, output = await ended(client, started["id"])
        assert (task["state"], output) == ("succeeded", "said\nexit 0")
    async with (
        httpx2.AsyncClient(headers={"Authorization": "Bearer wrong"}, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        assert (await client.call_tool("list_tasks", {})).is_error


def _status(url: str) -> int | None:
    try:
        return httpx2.post(url, json={}).status_code
    except httpx2.TransportError:
        return None
