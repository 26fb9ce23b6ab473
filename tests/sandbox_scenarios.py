"""Scenarios with a provider in a process of its own: `python sandbox_scenarios.py SCENARIO HOME [NAME ISOLATION]`.

Each prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, cast

from remote_claude.runner.providers import ProviderError, UnixSocket
from remote_claude.runner.providers.local import Isolation, LocalProvider
from sandboxes import listener, spec, told

LOOK_AROUND = """import json, os, socket
client = socket.socket(socket.AF_UNIX)
client.connect("/run/rclaude/runner.sock")
status = dict(line.rstrip().split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "uid": os.getuid(),
    "heard": client.recv(100).decode(),
    "capabilities": int(status["CapBnd"], 16),
    "seccomp": int(status["Seccomp"]),
    "processes": len([pid for pid in os.listdir("/proc") if pid.isdigit()]),
    "writable": [path for path in ("/", "/dev", "/etc", "/usr", "/run", "/home") if os.access(path, os.W_OK)],
    "shadow": os.path.exists("/etc/shadow"),
}))"""


def say(what: Any) -> None:
    print(json.dumps(what), flush=True)


async def walls(home: Path) -> None:
    """A look around."""
    provider = LocalProvider(home)
    await provider.check()
    async with listener(home / "run.sock") as path:
        inside = await told(provider, spec(LOOK_AROUND, transport=UnixSocket(path)))
    say({"outside_uid": os.geteuid(), "inside": inside})


async def check(home: Path) -> None:
    """The refusal of a machine that cannot isolate."""
    try:
        await LocalProvider(home).check()
    except ProviderError as error:
        say({"code": error.code, "message": str(error)})
    else:
        say(None)


async def wait_to_be_killed(home: Path, name: str, isolation: str) -> None:
    """Run a sandbox until somebody ends this process."""
    provider = LocalProvider(home, cast(Isolation, isolation))
    await provider.recover()
    async with listener(home / "run.sock") as path:
        script = f"setsid sleep 1000 & : {name}; sleep 1000"
        await provider.launch(spec(script, name, transport=UnixSocket(path)))
        say("up")
        await provider.wait(name)


if __name__ == "__main__":
    scenario = {"walls": walls, "check": check, "wait_to_be_killed": wait_to_be_killed}[sys.argv[1]]
    asyncio.run(scenario(Path(sys.argv[2]), *sys.argv[3:]))  # type: ignore[operator]
