"""A PGQueuer worker: `python pgqueuer_worker.py DSN` runs the entry point `noop` until it is told to stop.

Then it prints when each job began, as a JSON object of Unix seconds by job id.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from datetime import timedelta

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.models import Job

BATCH = 100


async def work(dsn: str) -> None:
    """Until SIGTERM."""
    began: dict[int, float] = {}
    async with asyncpg.create_pool(dsn, min_size=4, max_size=16) as pool:
        queue = PgQueuer.from_asyncpg_pool(pool)

        async def noop(job: Job) -> None:
            began[job.id] = time.time()

        queue.entrypoint("noop")(noop)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, queue.shutdown.set)
        print("ready", flush=True)
        await queue.run(dequeue_timeout=timedelta(seconds=5), batch_size=BATCH)
    print(json.dumps(began), flush=True)


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1]))
