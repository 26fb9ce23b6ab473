"""The account of an organisation: which plan it is on, and which periods it is billed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import assert_never

from remote_claude.billing.domain.periods import Period
from remote_claude.billing.domain.plans import PLANS
from remote_claude.contracts.billing import Entitlements, PeriodOpened, PlanChanged

AccountEvent = PlanChanged | PeriodOpened


class UnknownPlan(Exception):
    """There is no plan of this name."""

    code = "unknown_plan"

    def __init__(self, plan: str) -> None:
        super().__init__(f"there is no plan {plan!r}; choose one of: {', '.join(PLANS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPlan:
    """Put the organisation on a plan. `entitlements` overrides what the plan allows, for a contract or one's own machine."""

    org: str
    plan: str
    now: datetime
    entitlements: Entitlements | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAccount:
    """Put an organisation without a plan on its first one, and open every period up to the one that `now` is in."""

    org: str
    plan: str
    now: datetime
    entitlements: Entitlements | None = None


Command = SetPlan | OpenAccount


@dataclass(frozen=True, slots=True)
class Account:
    plan: str | None = None
    entitlements: Entitlements | None = None
    periods: dict[str, PeriodOpened] = field(default_factory=dict)

    @property
    def last_period(self) -> Period | None:
        return Period.named(max(self.periods)) if self.periods else None


initial_state = Account()


def decide(command: Command, state: Account) -> list[AccountEvent]:
    """What follows from a command. Raises `UnknownPlan`."""
    match command:
        case OpenAccount() if state.plan is not None:
            return _open_periods(command.org, state, command.now)
        case SetPlan() | OpenAccount():
            plan = PLANS.get(command.plan)
            if plan is None:
                raise UnknownPlan(command.plan)
            entitlements = command.entitlements or plan.entitlements
            if (state.plan, state.entitlements) == (plan.name, entitlements):
                return []
            changed = PlanChanged(org=command.org, plan=plan.name, entitlements=entitlements)
            return [changed, *_open_periods(command.org, evolve(state, changed), command.now)]
        case _:
            assert_never(command)


def _open_periods(org: str, state: Account, now: datetime) -> list[AccountEvent]:
    """The periods that are missing, at the prices of the plan that stands. A period keeps the prices it opened with."""
    if state.plan is None:
        return []
    current, last = Period.containing(now), state.last_period
    period = last.following() if last else current
    opened: list[AccountEvent] = []
    while period.name <= current.name:
        starts_at, ends_at = period.bounds()
        opened.append(
            PeriodOpened(
                org=org,
                period=period.name,
                starts_at=starts_at,
                ends_at=ends_at,
                price_book=PLANS[state.plan].price_book,
            )
        )
        period = period.following()
    return opened


def evolve(state: Account, event: AccountEvent) -> Account:
    match event:
        case PlanChanged():
            return replace(state, plan=event.plan, entitlements=event.entitlements)
        case PeriodOpened():
            return replace(state, periods={**state.periods, event.period: event})
        case _:
            assert_never(event)


def fold(events: Sequence[AccountEvent]) -> Account:
    """The account after these events."""
    state = initial_state
    for event in events:
        state = evolve(state, event)
    return state
