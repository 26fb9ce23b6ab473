"""`python -m remote_claude.runner.machines`: this machine as a runner of a stack elsewhere. `rclaude runner join` starts it.

What it offers is the JSON in RCLAUDE_MACHINE; the key is in RCLAUDE_API_KEY, and goes into no other process.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path

from remote_claude.runner.machines.joining import JoinedMachine, NotJoined, ServerAddress
from remote_claude.runner.machines.protocol import MachineHello
from remote_claude.runner.providers import ProviderError, ProviderSettings, create
from remote_claude.worker import agents


def main() -> int:
    """The process; its exit code."""
    key = os.environ.pop("RCLAUDE_API_KEY", "")
    offered = json.loads(os.environ.pop("RCLAUDE_MACHINE"))
    Path(offered["home"]).mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        return asyncio.run(_run(key, offered))
    except NotJoined as error:
        print(f"rclaude runner: {error}", file=sys.stderr)
        return 3
    except ProviderError as error:
        print(f"rclaude runner: no task can run here: {error}", file=sys.stderr)
        return 1


async def _run(key: str, offered: dict[str, object]) -> int:
    home = Path(str(offered.pop("home")))
    url = str(offered.pop("url"))
    provider = create("local", ProviderSettings(runner="machine", home=home, environment=os.environ))
    can = provider.capabilities
    hello = MachineHello.model_validate(
        {
            **offered,
            "release": version("remote-claude-runner"),
            "agents": [
                agent.name
                for agent in agents.available({"ANTHROPIC_API_KEY": "of the server"})
                if agent.available
            ],
            "egress_policy": can.egress_policy,
            "memory_limit": can.memory_limit,
            "disk_limit": can.disk_limit,
        }
    )
    machine = JoinedMachine(ServerAddress(url, key), hello, provider)
    running = asyncio.create_task(machine.run())
    loop, drains = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    def leave() -> None:
        """The first time it lets what runs come to its end, the second time it does not."""
        if drains:
            running.cancel()
        drains.add(asyncio.create_task(machine.drain()))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave)
    try:
        await running
    except asyncio.CancelledError:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
