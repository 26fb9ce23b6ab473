"""From a prompt to the first words of the real Claude Code, in a sandbox of the local provider, against starting it by hand.

A model on loopback answers at once. By hand: the same binary in print mode in an empty Git repository, from its start to the
line with the model's first words. Ours: from `POST /v1/tasks` to the same words as a frame on a live stream that was open
before. Five interleaved runs, after one of each that does not count.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import claude_agent_sdk
import orjson
import uvloop
from noop_tasks import Http, owner_key
from readings import Reading, at_most
from websockets.asyncio.client import connect as open_socket

from messages_api import MessagesApi, serving_in_a_thread, text
from product import Product, clean_environment, product, repository

RUNS = 5
WORDS = "These are the first words."
BINARY = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"


def measure() -> Iterator[Reading]:
    """Seconds."""
    with (
        serving_in_a_thread() as model,
        TemporaryDirectory(prefix="rclaude-by-hand-") as folder,
        product({"ANTHROPIC_API_KEY": model.key[1], "ANTHROPIC_BASE_URL": model.base_url}) as stack,
    ):
        ours, by_hand = uvloop.run(_measure(stack, model, Path(folder)))
    yield at_most(
        1.1, figure=10, what="prompt to the first words of Claude Code, against starting it by hand",
        value=ours, limit=by_hand, unit="s",
    )  # fmt: skip


async def _measure(stack: Product, model: MessagesApi, folder: Path) -> tuple[list[float], list[float]]:
    where = repository(folder / "repository", {"README.md": "hello\n"})
    ours, by_hand = [], []
    for _ in range(RUNS + 1):
        model.play([text(WORDS)])
        by_hand.append(await _by_hand(model, where, folder / "home"))
        model.play([text(WORDS)])
        ours.append(await _ours(stack))
    return ours[1:], by_hand[1:]


async def _by_hand(model: MessagesApi, where: Path, home: Path) -> float:
    environment = clean_environment() | {
        "HOME": str(home),
        "ANTHROPIC_API_KEY": model.key[1],
        "ANTHROPIC_BASE_URL": model.base_url,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "IS_SANDBOX": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    command = (
        BINARY,
        "--print",
        "--verbose",
        "--output-format",
        "stream-json",
        "--permission-mode",
        "bypassPermissions",
    )
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *command, "say the words", cwd=where, env=environment, limit=2**24,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    seconds = None
    async for line in process.stdout:
        if seconds is None and WORDS.encode() in line:
            seconds = time.perf_counter() - began
    assert await process.wait() == os.EX_OK
    assert seconds is not None, "it said something else"
    return seconds


async def _ours(stack: Product) -> float:
    key, address = owner_key(stack), urlsplit(stack.stack_file()["url"])
    client = Http(address.hostname or "", address.port or 80)
    await client.open()
    async with open_socket(
        f"ws://{address.netloc}/v1/stream", additional_headers={"Authorization": f"Bearer {key}"}
    ) as socket:
        began = time.perf_counter()
        body = orjson.dumps({"prompt": "say the words", "agent": "claude"})
        task = await client.ask("POST", "/v1/tasks", key, body)
        await socket.send(
            orjson.dumps({"type": "subscribe", "task": task["id"], "min_position": task["position"]}).decode()
        )
        seconds = None
        async for frame in socket:
            if seconds is None and WORDS in str(frame):
                seconds = time.perf_counter() - began
            elif '"type":"end"' in str(frame):
                break
    client.close()
    assert seconds is not None, "it said something else"
    return seconds
