"""Whether the agent of a task can still take a message that was just recorded."""

from __future__ import annotations

import asyncio

from remote_claude.gateway.domain.lifecycle import TaskProgress
from remote_claude.gateway.domain.refusals import MessageNotTaken
from remote_claude.runtime.agent_output import OutputStream, OutputUnavailable

POLL_AFTER_S = (0.0, 0.3)
"""When the output is looked at after the message was recorded: at once, and when the runner should have had it."""
LAST_FRAMES = 8
"""An agent that had ended before shows it in one of so many frames at the end of the output."""


class MessageDelivery:
    """Looks at the output of an attempt around the recording of one message."""

    def __init__(self, output: OutputStream, org: str, task: str, progress: TaskProgress) -> None:
        self._output, self._org, self._task = output, org, task
        self._attempt = progress.attempts[-1].number if progress.attempts else None
        self._end = 0

    async def begin(self) -> None:
        """To be called before the message is recorded: notes where the output ends."""
        if self._attempt is not None:
            self._end = await self._output.end(self._org, self._task, self._attempt)

    async def check(self, text: str, number: int) -> None:
        """Raises `MessageNotTaken` where the agent has ended without the message. Output that can't be read says nothing."""
        if self._attempt is None:
            return
        for pause in POLL_AFTER_S:
            await asyncio.sleep(pause)
            try:
                missed = await self._missed(self._attempt, text)
            except OutputUnavailable:
                return
            if missed:
                raise MessageNotTaken(self._task, number)

    async def _missed(self, attempt: int, text: str) -> bool:
        ended = False
        after = max(0, self._end - LAST_FRAMES)
        async for chunk in self._output.read(self._org, self._task, attempt, after=after):
            for at, frame in enumerate(chunk.frames, chunk.first):
                match frame:
                    case {"kind": "user_message", "text": taken} if at > self._end and taken == text:
                        return False
                    case {"kind": "result"} | {"kind": "status", "phase": "committing"}:
                        ended = True
        return ended
