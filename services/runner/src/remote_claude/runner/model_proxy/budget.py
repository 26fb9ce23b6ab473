"""What a task's model calls may cost, checked before each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from remote_claude.contracts.runner import Cumulative, UsageSample
from remote_claude.eventsourcing.events import RecordedEvent, stream_id
from remote_claude.eventsourcing.log import EventLog
from remote_claude.runner.model_proxy.failures import ModelFailure
from remote_claude.runner.model_proxy.model_usage import ModelUsage

EXHAUSTED = "budget_exhausted"


@dataclass(frozen=True, slots=True)
class Budget:
    """`nano_usd` for all attempts of a task, of which earlier ones have `spent` some. Whose key it was does not matter.

    It is checked before a call, against what calls have used and what open ones have sent: a task overspends by at most
    the calls that are open when it is exhausted.
    """

    nano_usd: int
    spent: int = 0

    def exhausted_by(self, usage: ModelUsage) -> ModelFailure | None:
        """Why no further call may be made, if none may."""
        spent = self.spent + cost(usage.cumulative) + sum(call.nano_usd for call in usage.open_calls)
        if spent < self.nano_usd:
            return None
        detail = (
            f"The task has spent {_dollars(spent)} of its budget of {_dollars(self.nano_usd)}."
            " What it has done so far is kept. Run it again with a larger --budget to go on."
        )
        return ModelFailure(EXHAUSTED, detail)


def cost(used: Cumulative) -> int:
    """Nano-dollars of the model, paid by the customer or by the operator."""
    return used.model_nano_usd + used.customer_model_nano_usd


async def of_task(log: EventLog, org: str, task: str, attempt: int, nano_usd: int) -> Budget:
    """The budget that is left for an attempt of a task: what the earlier ones have on record is spent."""
    spent = 0
    for earlier in range(1, attempt):
        history = await log.read_stream(stream_id("runner", org, "attempt", f"{task}-{earlier}"))
        spent += _spent(history)
    return Budget(nano_usd, spent)


def _spent(history: Sequence[RecordedEvent]) -> int:
    events = [getattr(recorded.event, "usage", recorded.event) for recorded in history]
    samples = [event for event in events if isinstance(event, UsageSample)]
    return cost(samples[-1].total) if samples else 0


def _dollars(nano_usd: int) -> str:
    return f"${nano_usd / 1e9:,.2f}"
