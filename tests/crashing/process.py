"""All six services in a process that can be told where to die, and with which fault planted.

`python -m crashing.process` imports the product once, then forks a process for each line of its input, a JSON object:
`environment`, `log` (file for what it says), `record` (file for the points that it comes by), `crash` (one of them, or
null) and `mutant` (a name, or null). It answers with the process number of each. They end with it.

A process that runs: SIGTERM stops it as in production, SIGUSR1 has it rebuild every view, and touch `rebuilt` in its
home, SIGUSR2 has it log where each of its tasks waits.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from crashing.mutants import MUTANTS
from crashing.points import Point, Probes
from remote_claude.eventsourcing.postgres.rebuild import rebuild
from remote_claude.runtime import host
from remote_claude.runtime.settings import RuntimeSettings
from remote_claude.runtime.telemetry.logs_and_metrics import configure_logging

PR_SET_PDEATHSIG = 1
SAID_WHERE = "(these are all tasks)"


def main() -> None:
    """Fork a process for each line, until the input ends."""
    builds = host.installed()
    gc.freeze()
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # one that has just been forked does not die of it
    for line in sys.stdin:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them here
        if (pid := os.fork()) == 0:
            _become(json.loads(line), builds)
        print(pid, flush=True)


def _become(order: dict[str, Any], builds: Any) -> None:
    """Turn this fork into the services."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    said = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, to in enumerate((os.open(os.devnull, os.O_RDONLY), said, said)):
        os.dup2(to, number)
    os.environ.clear()
    os.environ.update(order["environment"])
    random.seed()
    settings = RuntimeSettings()  # from the environment
    configure_logging("info", as_json=False)
    if order["mutant"] is not None:
        MUTANTS[order["mutant"]].plant()
    Probes(Path(order["record"]), Point.of(order["crash"]) if order["crash"] else None).install()
    code = 1
    try:
        host.run(_serve(builds, settings))
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


async def _serve(builds: Any, settings: RuntimeSettings) -> None:
    loop, stop, rebuilding = asyncio.get_running_loop(), asyncio.Event(), set[asyncio.Task[None]]()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGUSR2, _say_where)
    async with host.hosting(builds, settings, os.environ) as running:

        async def rebuild_all() -> None:
            for service in running.services:
                for view in service.views:
                    await rebuild(view, running.runtime.pool, running.runtime.log)
            (settings.home / "rebuilt").touch()

        def begin() -> None:
            if not rebuilding:
                rebuilding.add(asyncio.ensure_future(rebuild_all()))

        loop.add_signal_handler(signal.SIGUSR1, begin)
        await stop.wait()


def _say_where() -> None:
    for task in asyncio.all_tasks():
        task.print_stack(file=sys.stderr)
    print(SAID_WHERE, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
