"""A process that runs the embedded servers of one home until SIGTERM, and says their process numbers.

`python tests/embedded_stack.py HOME`; each line of its output is a JSON object: `{"pids": {...}}` at every change,
and `{"ready": {"nats_url", "seed_file", "postgres_dsn"}}` once. A refusal is `{"error": code}` and exit status 1.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import structlog

from remote_claude.runtime.embedded import EmbeddedError, Home, NatsUser, Supervisor, servers_for


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


async def main(root: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with Home(root) as home:
        servers = servers_for(home, os.environ, [NatsUser(name="tester")])
        async with Supervisor(servers.children, log_dir=home.log, on_change=lambda pids: say(pids=pids)):
            seed_file = servers.nats_credentials.get("tester", "")
            say(
                ready={
                    "nats_url": servers.nats_url,
                    "seed_file": str(seed_file),
                    "postgres_dsn": servers.postgres_dsn,
                }
            )
            await stop.wait()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        asyncio.run(main(Path(sys.argv[1])))
    except EmbeddedError as error:
        say(error=error.code)
        sys.exit(1)
