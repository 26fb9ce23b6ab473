"""The output of one attempt on its runner: passed on as it arrives, and kept whole until it is sealed."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from remote_claude.contracts.runner import SealedOutput
from remote_claude.runner.egress import Connected
from remote_claude.runtime.agent_output import OutputConflict, OutputWriter
from remote_claude.runtime.objects import Objects
from remote_claude.worker.protocol.frames import now


class AttemptOutput:
    """The frames of one attempt: to `OUTPUT` as they come, and into a file that becomes an object at the end."""

    def __init__(
        self,
        writer: OutputWriter,
        path: Path,
        *,
        on_fenced: Callable[[], None],
        on_full: Callable[[], None],
        max_bytes: int,
    ) -> None:
        self._writer, self._path, self._max_bytes = writer, path, max_bytes
        self._on_fenced, self._on_full = on_fenced, on_full
        self._size = 0
        self._full = False
        self._turn = asyncio.Lock()

    async def store(self, _first: int, frames: list[dict[str, Any]]) -> None:
        """Keep frames; when this returns they may be acknowledged, when it raises they come again.

        A runner that has been fenced off ends its attempt. So does one whose attempt has said too much, and what
        follows is dropped.
        """
        async with self._turn:
            await self._store(frames)

    async def connected(self, connection: Connected) -> None:
        """A connection of the sandbox as a frame that no worker can send: the audit of where the attempt has been."""
        frame = {"kind": "connection", "at": now(), **asdict(connection)}
        for field in ("detail", "secrets"):
            if not frame[field]:
                del frame[field]
        with suppress(OutputConflict):  # another runner has the attempt: this one is ending it
            await self.store(0, [frame])

    async def _store(self, frames: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(frame, ensure_ascii=False) + "\n" for frame in frames).encode()
        self._full = self._full or self._size + len(lines) > self._max_bytes
        if self._full:
            self._on_full()
            return
        with self._path.open("ab") as file:
            file.truncate(self._size)  # what did not come as far as the broker
            file.write(lines)
        try:
            await self._writer.write(frames)
        except OutputConflict:
            self._on_fenced()
            raise
        self._size += len(lines)

    async def seal(self, objects: Objects, org: str) -> SealedOutput | None:
        """The whole output as one object of JSON lines."""
        if not self._size:
            return None
        os.truncate(self._path, self._size)
        sha256 = await objects.put_file(org, self._path)
        return SealedOutput(sha256=sha256, frames=self._writer.frames, size=self._size)
