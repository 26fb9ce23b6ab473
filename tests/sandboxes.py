"""What the tests of sandboxes share."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from remote_claude.runner.providers import ComputeProvider, LaunchSpec, SandboxExit, SandboxLimits


def spec(script: str, name: str = "task-1", **changes: Any) -> LaunchSpec:
    """A launch of a shell script, or of Python when it begins with `import`."""
    interpreter = (
        (sys.executable, "-c") if script.lstrip().startswith(("import ", "from ")) else ("/bin/sh", "-c")
    )
    limits = {"vcpu_millis": 1000, "memory_mib": 256, "duration_s": 60, "disk_mib": 64} | {
        key: changes.pop(key)
        for key in ("vcpu_millis", "memory_mib", "duration_s", "disk_mib", "processes")
        if key in changes
    }
    return LaunchSpec(name=name, argv=(*interpreter, script), limits=SandboxLimits(**limits), **changes)


async def outcome(provider: ComputeProvider, launch: LaunchSpec) -> SandboxExit:
    """Run it to its end."""
    await provider.launch(launch)
    return await provider.wait(launch.name)


async def told(provider: ComputeProvider, launch: LaunchSpec) -> Any:
    """Run it to a good end; the JSON of its last line of output."""
    end = await outcome(provider, launch)
    assert (end.reason, end.code) == ("exited", 0), end.output
    return json.loads(end.output.splitlines()[-1])


@asynccontextmanager
async def listener(path: Path, answer: bytes = b"hello from outside") -> AsyncIterator[Path]:
    """A unix socket that sends `answer` to each client."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    async with await asyncio.start_unix_server(greet, path):
        os.chmod(path, 0o666)  # noqa: S103  as the runner opens its own to every sandbox
        yield path


async def until(fact: Callable[[], bool], what: str, within_s: float = 30) -> None:
    """Wait for a fact."""
    end = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < end, f"never came true: {what}"
        await asyncio.sleep(0.01)


def processes_with(text: str) -> list[int]:
    """Host processes that carry this text in their command line or environment, ourselves apart."""
    found = []
    for path in Path("/proc").iterdir():
        if not path.name.isdigit() or int(path.name) == os.getpid():
            continue
        try:
            if text.encode() in (path / "cmdline").read_bytes() + (path / "environ").read_bytes():
                found.append(int(path.name))
        except (OSError, ProcessLookupError):
            continue
    return found


def has_begun(text: str) -> bool:
    """Does a shell run whose script holds this text?"""
    return any(_argv(pid)[:1] == [b"/bin/sh"] for pid in processes_with(text))


def _argv(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def control_groups(text: str) -> list[Path]:
    """Control groups whose name holds this text."""
    return [Path(root) for root, _, _ in os.walk("/sys/fs/cgroup") if text in Path(root).name]
