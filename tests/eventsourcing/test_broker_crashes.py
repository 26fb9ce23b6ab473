"""`kill -9` of the broker, again and again, under concurrent writers and readers."""

import asyncio

from event_logs import new_place
from log_writers import Writers, under_load
from servers import Broker

WRITERS = 24
CRASHES = 4


async def test_nothing_acknowledged_is_lost_and_nothing_is_there_twice(fresh_nats: Broker) -> None:
    async def crash(writers: Writers) -> None:
        for _ in range(CRASHES):
            fresh_nats.kill()
            await asyncio.to_thread(fresh_nats.start)
            await writers.go_on()

    await under_load(await new_place(fresh_nats), WRITERS, crash)
