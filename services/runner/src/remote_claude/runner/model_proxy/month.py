"""The month's money of a person and their organisation: asked of billing before calls."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from pydantic import ValidationError

from remote_claude.contracts.budgets import EXHAUSTED, MonthAnswer, MonthRequest
from remote_claude.contracts.requests import ASK_MONTH
from remote_claude.runner.model_proxy.failures import ModelFailure

log = structlog.get_logger(__name__)

ASKED_AGAIN_AFTER_S = 1.0
TIMEOUT_S = 2.0


class Month:
    """Between two answers the attempt's own use counts on top of the last one, also while billing does not answer."""

    def __init__(
        self, client: Client, whose: MonthRequest, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._client, self._request, self._monotonic = client, whose, monotonic
        self._answer: MonthAnswer | None = None
        self._refreshed_at, self._counted = float("-inf"), 0

    async def refresh(self, used: int) -> None:
        """Ask, unless that was a moment ago. `used` is what the attempt has on record, in nano-dollars."""
        if self._monotonic() - self._refreshed_at < ASKED_AGAIN_AFTER_S:
            return
        self._refreshed_at = self._monotonic()
        try:
            reply = await self._client.request(
                ASK_MONTH.subject, self._request.model_dump_json().encode(), timeout=TIMEOUT_S
            )
            self._answer, self._counted = MonthAnswer.model_validate_json(reply.data), used
        except (NatsError, OSError, ValidationError) as error:
            log.warning("billing does not say what is left of a budget", error=repr(error))

    def exhausted_by(self, used: int) -> ModelFailure | None:
        """Why no further call may be made, if none may."""
        why = self._answer.after(used - self._counted).exhausted if self._answer is not None else None
        return ModelFailure(EXHAUSTED, why) if why is not None else None
