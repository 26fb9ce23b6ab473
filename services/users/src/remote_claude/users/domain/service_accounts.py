"""A service account: an account of an organisation that is no person. API keys of machines are of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from remote_claude.contracts.refusals import Refusal
from remote_claude.contracts.users import ServiceAccountCreated, ServiceAccountRemoved

State = Literal["unknown", "live", "removed"]
ServiceAccountEvent = ServiceAccountCreated | ServiceAccountRemoved

initial_state: State = "unknown"


class ServiceAccountNotFound(Refusal):
    code = "service_account_not_found"
    status = 404

    def __init__(self, account: str) -> None:
        super().__init__(
            f"There is no service account {account[:64]!r} in this organisation. `rclaude service-account list` "
            "shows those that there are."
        )


def decide(event: ServiceAccountEvent, state: State) -> list[ServiceAccountEvent]:
    """What is recorded. Raises `ServiceAccountNotFound`."""
    if isinstance(event, ServiceAccountCreated):
        return [event] if state == "unknown" else []
    if state != "live":
        raise ServiceAccountNotFound(event.service_account)
    return [event]


def evolve(_: State, event: ServiceAccountEvent) -> State:
    """The state after an event."""
    return "live" if isinstance(event, ServiceAccountCreated) else "removed"


def fold(events: Sequence[ServiceAccountEvent]) -> State:
    """The state after these events."""
    state = initial_state
    for event in events:
        state = evolve(state, event)
    return state
