"""What nats-py does by itself: the limit that the event log is held against."""

from __future__ import annotations

import asyncio

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

PULL = 2000


async def ordered_read(client: Client, stream: str, messages: int) -> None:
    """A pull loop on a callback subscription, which is the fastest that nats-py reads; nothing is decoded."""
    api = "$JS.API.CONSUMER"
    config = {
        "ack_policy": "none",
        "deliver_policy": "all",
        "mem_storage": True,
        "inactive_threshold": 10**10,
    }
    request = orjson.dumps({"stream_name": stream, "config": config})
    answer = await client.request(f"{api}.CREATE.{stream}", request, timeout=10)
    name = orjson.loads(answer.data)["name"]
    inbox, seen, done = client.new_inbox(), 0, asyncio.Event()

    async def ask() -> None:
        await client.publish(f"{api}.MSG.NEXT.{stream}.{name}", b"%d" % PULL, reply=inbox)

    async def receive(_: Msg) -> None:
        nonlocal seen
        seen += 1
        if seen % PULL == 0:
            await ask()
        if seen == messages:
            done.set()

    subscription = await client.subscribe(inbox, cb=receive)
    await ask()
    await ask()
    await done.wait()
    await subscription.unsubscribe()
