"""Plain `git` as a subprocess that can be ended, with nobody's configuration."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Collection, Mapping
from pathlib import Path

_STDERR_KEPT = 64 * 1024  # bytes, the last ones
_STDOUT_MOST = 256 * 1024 * 1024  # bytes
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.safecrlf=false",
    "gc.auto=0",
    "maintenance.auto=false",
)


running: set[int] = set()
"""Processes of Git that this process waits for. What ends the processes of an agent leaves them alone."""
starting: set[object] = set()
"""Not empty while such a process has been started and its id is not known yet."""


class GitFailed(Exception):
    def __init__(self, command: str, code: int, stderr: str) -> None:
        super().__init__(f"git {command}: {stderr.strip() or f'it ended with {code}'}")
        self.code = code
        self.stderr = stderr


def environment(home: Path) -> dict[str, str]:
    """No configuration but the repository's own, no questions."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "SSH_ASKPASS": "/bin/false",
    }


async def git(
    *args: str | Path,
    cwd: Path,
    env: Mapping[str, str],
    stdin: bytes = b"",
    expect: Collection[int] = (0,),
    most: int = _STDOUT_MOST,
    settings: Collection[str] = (),
) -> bytes:
    """What Git prints. Cancelling ends it and all that it started.

    Errors: `GitFailed` for another exit code than expected, or more than `most` bytes of output.
    """
    command = ["git", "--no-pager"]
    command += [part for setting in (*_SETTINGS, *settings) for part in ("-c", setting)]
    start = object()
    starting.add(start)
    try:
        process = await _start([*command, *map(str, args)], cwd, env)
        running.add(process.pid)
    finally:
        starting.discard(start)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        out, error, _ = await asyncio.gather(
            _head(process.stdout, most), _tail(process.stderr), _feed(process.stdin, stdin)
        )
        if len(out) > most:
            raise GitFailed(str(args[0]), 0, f"it printed more than {most} bytes")
        code = await process.wait()
    finally:
        await _end(process)
        running.discard(process.pid)
    if code not in expect:
        raise GitFailed(str(args[0]), code, error.decode("utf-8", "replace"))
    return out


async def _start(command: list[str], cwd: Path, env: Mapping[str, str]) -> asyncio.subprocess.Process:
    """Cancelled half-way, asyncio would end the one process and leave what it has started already."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command,
            cwd=cwd,
            env=dict(env),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await _end(await starting)
        raise


async def _end(process: asyncio.subprocess.Process) -> None:
    """The whole group: a helper that outlives Git would hold its pipes, or the network."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.shield(process.wait())


async def _feed(stream: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it ended early: its exit code says why
        if not stream.is_closing():
            stream.write(data)
            await stream.drain()
    stream.close()


async def _head(stream: asyncio.StreamReader, most: int) -> bytes:
    """At most one byte more than `most`."""
    parts, size = [], 0
    while size <= most and (part := await stream.read(1 << 16)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


async def _tail(stream: asyncio.StreamReader) -> bytes:
    kept = b""
    while part := await stream.read(1 << 16):
        kept = (kept + part)[-_STDERR_KEPT:]
    return kept
