"""What a subject costs the broker in memory, and what trimming gives back. `python tests/benchmarks/trim_memory.py [SUBJECTS]`.

Memory is the broker's resident set after a restart, so that it is what the log costs and not what filling it left behind.
"""

import asyncio
import sys

import psutil

from event_logs import connect
from remote_claude.eventsourcing.jetstream import streams
from remote_claude.eventsourcing.jetstream.nats_client import Wire
from remote_claude.runtime.archive import restore, trim
from remote_claude.runtime.archive.store import Row
from servers import Broker, empty_nats

KEPT = 1000


async def fill(broker: Broker, subjects: int) -> None:
    """Two events of 300 bytes on each subject."""
    client = await connect(broker)
    await streams.ensure_streams(client)
    rows = [
        Row(
            n + 1,
            f"ev.gateway.org_{n % 100:026d}.task.task_{n // 2:026d}",
            (None, "", ""),
            b"ce-id: x\r\n",
            b"x" * 300,
            b"",
        )
        for n in range(2 * subjects)
    ]
    for n in range(0, len(rows), 500):
        await restore.append_batch(Wire.over(client), rows[n : n + 500])
    await client.close()


async def cut(broker: Broker) -> None:
    client = await connect(broker)
    await trim.configure(client, {"max_msgs": KEPT, "discard": "old"})
    await trim.remove_limits(client)
    await client.close()


def resident(broker: Broker) -> float:
    return float(psutil.Process(broker.pid).memory_info().rss)


def main(subjects: int) -> None:
    """Print the four readings."""
    with empty_nats() as broker:
        broker.restart()
        empty = resident(broker)
        asyncio.run(fill(broker, subjects))
        broker.restart()
        full = resident(broker)
        asyncio.run(cut(broker))
        at_once = resident(broker)
        broker.restart()
        trimmed = resident(broker)
    print(f"empty {empty / 1e6:.1f} MB")
    print(
        f"{subjects:,} subjects, {2 * subjects:,} events: {full / 1e6:.1f} MB, {(full - empty) / subjects:.0f} B a subject"
    )
    print(
        f"trimmed to {KEPT:,} events: {at_once / 1e6:.1f} MB at once, {trimmed / 1e6:.1f} MB after a restart"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
