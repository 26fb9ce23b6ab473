"""Why tasks wait. The leading scheduler answers: it knows its queue and which runners renew their leases."""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from pydantic import ValidationError

from remote_claude.contracts.requests import EXPLAIN_WAITING
from remote_claude.contracts.waiting import Waiting, WaitingAnswer, WaitingRequest
from remote_claude.gateway.domain.lifecycle import State

log = structlog.get_logger(__name__)

WAITING: frozenset[State] = frozenset({"submitted", "queued"})
TIMEOUT_S = 0.5
"""A list is not delayed for longer by a scheduler that does not answer."""
NO_SCHEDULER = (
    "No scheduler answers, so nothing is decided at the moment. The task is recorded and starts once one leads. "
    "`rclaude status` shows the services."
)


class WaitingReasons:
    """Asks why tasks wait."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def of(self, org: str, tasks: Iterable[tuple[str, State]]) -> dict[str, Waiting]:
        """By task: why it waits. A task that started meanwhile is left out."""
        waiting = tuple(task for task, state in tasks if state in WAITING)
        if not waiting:
            return {}
        request = WaitingRequest(org=org, tasks=waiting)
        try:
            reply = await self._client.request(
                EXPLAIN_WAITING.subject, request.model_dump_json().encode(), timeout=TIMEOUT_S
            )
            answer = WaitingAnswer.model_validate_json(reply.data)
        except (NatsError, OSError, ValidationError) as error:
            log.warning("no scheduler says why tasks wait", org=org, error=repr(error))
            return {task: Waiting(task=task, code="no_scheduler", detail=NO_SCHEDULER) for task in waiting}
        return {waiting.task: waiting for waiting in answer.waiting}
