"""Whether the budget of a month is spent. Billing answers, from the fold of usage that bills are made from."""

from __future__ import annotations

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from pydantic import ValidationError

from remote_claude.contracts.budgets import MonthAnswer, MonthRequest
from remote_claude.contracts.refusals import Refusal
from remote_claude.contracts.requests import ASK_MONTH
from remote_claude.gateway.domain.policies import BudgetExhausted

log = structlog.get_logger(__name__)

TIMEOUT_S = 2.0


class BudgetUnknown(Refusal):
    """There is a month's budget, and nobody says what is left of it."""

    code = "budget_unknown"
    status = 503

    def __init__(self) -> None:
        super().__init__(
            "A monthly budget applies, and billing is not answering what is left of it. Submit the task again in a "
            "moment; `rclaude status` shows the services."
        )


class MonthBudgets:
    """Asks what is left of a month's money."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def check(self, org: str, user: str, team: str | None) -> None:
        """Raises `BudgetExhausted`, and `BudgetUnknown` when billing does not answer."""
        request = MonthRequest(org=org, user=user, team=team)
        try:
            reply = await self._client.request(
                ASK_MONTH.subject, request.model_dump_json().encode(), timeout=TIMEOUT_S
            )
            answer = MonthAnswer.model_validate_json(reply.data)
        except (NatsError, OSError, ValidationError) as error:
            log.warning("billing does not say what is left of a budget", org=org, error=repr(error))
            raise BudgetUnknown from error
        if (why := answer.exhausted) is not None:
            raise BudgetExhausted(why)
