"""Permission requests of the agent: asked in its output, answered by a person."""

from __future__ import annotations

import asyncio
from typing import Any

from remote_claude.worker.agents.base import Emit
from remote_claude.worker.protocol.frames import Decision, PermissionRequest, PermissionSettled
from remote_claude.worker.protocol.messages import PermissionAnswer


class Permissions:
    """The requests of one attempt. `run` passes the answers on."""

    def __init__(self, attempt: int, emit: Emit, answers: asyncio.Queue[PermissionAnswer]) -> None:
        self._attempt, self._emit, self._answers = attempt, emit, answers
        self._asked = 0
        self._waiting: dict[str, asyncio.Future[PermissionAnswer]] = {}

    async def ask(self, tool: str, given: dict[str, Any]) -> PermissionAnswer:
        """Wait for a person's answer. Cancelled, the request is withdrawn."""
        self._asked += 1
        request = f"{self._attempt}-{self._asked}"
        answer: asyncio.Future[PermissionAnswer] = asyncio.get_running_loop().create_future()
        self._waiting[request] = answer
        decision: Decision = "withdrawn"
        try:
            await self._emit(PermissionRequest(id=request, name=tool, input=given))
            answered = await answer
            decision = answered.decision
            return answered
        finally:
            del self._waiting[request]
            await self._emit(PermissionSettled(id=request, decision=decision))

    async def run(self) -> None:
        """Until cancelled. An answer to what is not asked any more is dropped."""
        while True:
            answer = await self._answers.get()
            waiting = self._waiting.get(answer.request)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)
