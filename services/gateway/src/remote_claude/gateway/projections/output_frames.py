"""The output of a task's attempts, from where it is stored: the stream while an attempt runs, then a sealed object."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import orjson

from remote_claude.gateway.domain.cursor import Cursor
from remote_claude.gateway.domain.lifecycle import Attempt, TaskProgress
from remote_claude.runtime.agent_output import OutputStream
from remote_claude.runtime.objects import ObjectNotFound, Objects

FRAMES_A_PIECE = 256


@dataclass(frozen=True, slots=True)
class FrameRange:
    """Frames `first`, `first + 1`, ... of one attempt, each a JSON object or a piece of JSON that holds one."""

    attempt: int
    first: int
    frames: list[Any]

    @property
    def end(self) -> Cursor:
        """The cursor of the last one."""
        return Cursor(self.attempt, self.first + len(self.frames) - 1)

    def after(self, cursor: Cursor) -> FrameRange | None:
        """What of it comes after a cursor."""
        if cursor >= self.end:
            return None
        if cursor.attempt < self.attempt or cursor.frame < self.first:
            return self
        return FrameRange(self.attempt, cursor.frame + 1, self.frames[cursor.frame + 1 - self.first :])


class OutputHistory:
    """Reads what has been written so far."""

    def __init__(self, objects: Objects, output: OutputStream) -> None:
        self._objects, self._output = objects, output

    async def read(
        self, org: str, task: str, progress: TaskProgress, after: Cursor, *, upto: int = 0
    ) -> AsyncGenerator[FrameRange, None]:
        """The output after a cursor, in order: of every attempt that `progress` knows, and of all up to number `upto`."""
        known = {attempt.number: attempt for attempt in progress.attempts}
        numbers = known.keys() | ({upto} if upto else set())
        for number in sorted(numbers):
            if number < after.attempt:
                continue
            async for frames in self._attempt(org, task, number, known.get(number), after):
                if (rest := frames.after(after)) is not None:
                    yield rest

    async def lags(self, org: str, task: str, progress: TaskProgress, after: Cursor, *, upto: int) -> bool:
        """Whether there is output of attempt `upto` after a cursor, where a read found none: it will find it later."""
        seen = after.frame if after.attempt == upto else 0
        for attempt in progress.attempts:
            if attempt.number == upto and attempt.output is not None and seen >= attempt.output.frames:
                return False
        return seen < await self._output.end(org, task, upto)

    async def _attempt(
        self, org: str, task: str, number: int, attempt: Attempt | None, after: Cursor
    ) -> AsyncGenerator[FrameRange, None]:
        seen = after.frame if after.attempt == number else 0
        sealed = attempt.output if attempt else None
        if sealed is not None:
            if seen >= sealed.frames:
                return
            try:
                async for frames in self._sealed(org, sealed.sha256, number, seen):
                    yield frames
                    seen = frames.end.frame
                return
            except ObjectNotFound:
                pass  # the stream may still have it
        async for chunk in self._output.read(org, task, number, after=seen):
            yield FrameRange(number, chunk.first, chunk.frames)

    async def _sealed(
        self, org: str, sha256: str, attempt: int, seen: int
    ) -> AsyncGenerator[FrameRange, None]:
        """The lines of a sealed object after number `seen`, never all at once."""
        number, rest = 0, b""
        async for piece in self._objects.stream(org, sha256):
            *lines, rest = (rest + piece).split(b"\n")
            for start in range(max(0, seen - number), len(lines), FRAMES_A_PIECE):
                some = lines[start : start + FRAMES_A_PIECE]
                yield FrameRange(attempt, number + start + 1, [orjson.Fragment(line) for line in some])
            number += len(lines)
        if rest and number >= seen:
            yield FrameRange(attempt, number + 1, [orjson.Fragment(rest)])
