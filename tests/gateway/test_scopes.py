"""What a key may be used for, over HTTP and the live stream."""

import json
import re
from typing import Any

import pytest
from websockets.asyncio.client import connect

from gateway_stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODY = "task_00000000000000000000000000"
WITHOUT_A_KEY = (
    "/v1/triggers/{trigger}/{forge}", "/v1/shared/{share}", "/v1/shared/{share}/output", "/v1/shared/{share}/diff"
)  # fmt: skip
"""A forge signs what it sends, and a link for reading has a secret."""


async def test_a_key_that_may_read_submits_and_cancels_nothing(stack: Stack) -> None:
    writer = await stack.member()
    reader = await stack.member(writer.org, scopes=("tasks:read",))
    task = await writer.submit()
    body = {"prompt": "do it", "agent": "shell"}
    for path in ("/v1/tasks", f"/v1/tasks/{task}", f"/v1/tasks/{task}/events", f"/v1/tasks/{task}/output"):
        assert (await reader.http.get(path)).status_code == 200, path
    for answer in (
        await reader.http.post("/v1/tasks", json=body),
        await reader.http.post(f"/v1/tasks/{task}/cancel"),
        await reader.http.put("/v1/blobs/" + "0" * 64, content=b"x"),
        await reader.http.get("/v1/status"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
        assert answer.headers["content-type"] == "application/problem+json"
        assert "has: tasks:read" in answer.json()["detail"]
    assert (await writer.http.get(f"/v1/tasks/{task}")).json()["state"] == "queued"


async def test_every_path_needs_a_scope(stack: Stack) -> None:
    without = await stack.member(scopes=())
    paths = (await without.http.get("/openapi.json")).json()["paths"]
    assert "/v1/tasks" in paths
    for path, methods in paths.items():
        for method in methods if path not in WITHOUT_A_KEY else ():
            filled = re.sub(r"\{[^}]*\}", NOBODY, path)
            answer = await without.http.request(method, filled, json={"prompt": "x", "agent": "shell"})
            assert answer.status_code == 403, (method, path, answer.text)


@pytest.mark.parametrize("scopes", [("tasks",), ("tasks:read",), ("billing", "operations")])
async def test_a_key_that_may_see_tasks_may_watch_them(stack: Stack, scopes: tuple[str, ...]) -> None:
    owner = await stack.member()
    task = await owner.submit()
    member = await stack.member(owner.org, scopes=scopes)
    url = f"ws://127.0.0.1:{stack.host.port}/v1/stream"
    async with connect(url, additional_headers=member.headers, proxy=None) as socket:
        if "billing" in scopes:
            said: dict[str, Any] = json.loads(await socket.recv())
            assert (said["type"], said["status"], said["code"]) == ("error", 403, "scope_missing")
            await socket.wait_closed()
            assert (socket.close_code, socket.close_reason) == (4403, "scope_missing")
        else:
            await socket.send(json.dumps({"type": "subscribe", "task": task}))
            said = json.loads(await socket.recv())
            assert (said["type"], said["task"]) == ("state", task)
