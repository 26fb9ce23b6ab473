"""The month's money, by budgets and by the plan: asked of billing before calls."""

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
UNBOUNDED_FOR_S = 30.0
"""Where nothing bounds the month's money: how long until it is asked again."""
TIMEOUT_S = 2.0


class Month:
    """Between two answers the attempt's own use counts on top of the last one, also while billing does not answer."""

    def __init__(
        self,
        client: Client,
        whose: MonthRequest,
        *,
        by_plan: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`by_plan`: the plan's limits apply. They do not to a customer's own key, nor to a budget that is reserved."""
        self._client, self._request, self._monotonic = client, whose, monotonic
        self._by_plan = by_plan
        self._answer: MonthAnswer | None = None
        self._refreshed_at, self._counted = float("-inf"), 0

    async def refresh(self, used: int) -> None:
        """Ask, unless that was a moment ago. `used` is what the attempt has on record, in nano-dollars."""
        unbounded = self._answer is not None and not self._answer.bounded
        pause = UNBOUNDED_FOR_S if unbounded else ASKED_AGAIN_AFTER_S
        if self._monotonic() - self._refreshed_at < pause:
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
        if self._answer is None:
            return None
        now = self._answer.after(used - self._counted)
        why = now.exhausted or (now.plan_exhausted if self._by_plan else None)
        return ModelFailure(EXHAUSTED, why) if why is not None else None
