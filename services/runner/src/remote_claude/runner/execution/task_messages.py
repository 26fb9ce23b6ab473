"""Messages and answers of people to a running task, passed to its worker once each and in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased, Keyring
from remote_claude.contracts.contexts import message_context, permission_context
from remote_claude.contracts.gateway import PermissionAnswered, TaskMessageSent
from remote_claude.runner.sessions import WorkerSession
from remote_claude.worker.protocol.messages import PermissionAnswer, TaskMessage

log = structlog.get_logger(__name__)


class Messages:
    """Those of one attempt. What an earlier attempt has handled is skipped, and so is what arrives twice."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._waiting: asyncio.Queue[TaskMessageSent | PermissionAnswered] = asyncio.Queue()
        self._last = 0

    def skip(self, handled: int) -> None:
        """The messages up to this number were handled before."""
        self._last = max(self._last, handled)

    def add(self, event: TaskMessageSent | PermissionAnswered) -> None:
        """From the log, in its order; more than once is fine."""
        if isinstance(event, PermissionAnswered):
            self._waiting.put_nowait(event)
        elif event.number > self._last:
            self._last = event.number
            self._waiting.put_nowait(event)

    def not_taken(self, taken: int | None) -> str | None:
        """The sentence for those who have sent messages after number `taken`; None where there are none, or nothing is known."""
        if taken is None or taken >= self._last:
            return None
        numbers = ", ".join(map(str, range(taken + 1, self._last + 1)))
        return f"the agent ended before it took the messages {numbers}: send them to `rclaude resume`"

    @contextmanager
    def delivered_to(self, session: WorkerSession) -> Iterator[None]:
        """Pass them on for as long as this is entered."""
        delivering = asyncio.create_task(self._deliver(session))
        try:
            yield
        finally:
            delivering.cancel()

    async def _deliver(self, session: WorkerSession) -> None:
        while True:
            event = await self._waiting.get()
            try:
                text = await self._opened(event)
            except (KeyErased, KeyUnusable) as error:
                log.warning("a message can't be opened", task=event.task, code=error.code)
                continue
            match event:
                case TaskMessageSent(number=number, interrupt=interrupt):
                    await session.send_message(TaskMessage(number=number, text=text, interrupt=interrupt))
                case PermissionAnswered(request=request, decision=decision):
                    await session.answer_permission(
                        PermissionAnswer(request=request, decision=decision, text=text)
                    )

    async def _opened(self, event: TaskMessageSent | PermissionAnswered) -> str:
        """What the person says. Raises `KeyErased`, `KeyUnusable`."""
        if isinstance(event, TaskMessageSent):
            return await self._keyring.open(event.text, message_context(event.task))
        if event.message is None:
            return ""
        return await self._keyring.open(event.message, permission_context(event.task, event.request))
