"""Claude Code's transcript of a conversation: what it resumes from. It is written up to half a second after what it prints."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

PATIENCE_S = 5.0
"""A message that is not written by then is not waited for any longer."""
POLL_S = 0.02


class Transcript:
    """The file `.claude/projects/<folder>/<session>.jsonl` of the home, read as it grows."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._read: dict[Path, int] = {}

    async def wait_for(self, session: str, message: str | None) -> None:
        """Return once the message with this `uuid` is written, or after `PATIENCE_S`."""
        if message is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while not await asyncio.to_thread(self._has, session, message.encode()):  # noqa: ASYNC110 - a file of another process
                    await asyncio.sleep(POLL_S)

    def _has(self, session: str, message: bytes) -> bool:
        """Whether it is among what was written since the last message that was found."""
        for path in self._home.glob(f".claude/projects/*/{session}.jsonl"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                written = file.read()
                if message in written:
                    self._read[path] = file.tell()
                    return True
        return False
