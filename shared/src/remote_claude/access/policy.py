"""What an organisation allows its members, and what they may spend in a month: one stream, folded where it is enforced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from remote_claude.contracts.users import MonthlyBudgetSet, OrgPolicySet
from remote_claude.eventsourcing.events import stream_id
from remote_claude.eventsourcing.log import EventLog

PolicyEvent = OrgPolicySet | MonthlyBudgetSet


@dataclass(frozen=True, slots=True)
class Policy:
    """`rules` is None while everything is allowed. `budgets` are nano-dollars a month, by person or team; None is the organisation."""

    rules: OrgPolicySet | None = None
    budgets: Mapping[str | None, int] = field(default_factory=dict)

    def has_budget(self, user: str, team: str | None) -> bool:
        """Whether a month's budget bounds what this person submits for this team."""
        return not self.budgets.keys().isdisjoint((None, user, team))


def evolve(policy: Policy, event: PolicyEvent) -> Policy:
    """The policy after an event."""
    match event:
        case OrgPolicySet():
            return replace(policy, rules=event)
        case MonthlyBudgetSet():
            concerned = event.team or event.user
            budgets = {whose: limit for whose, limit in policy.budgets.items() if whose != concerned}
            if event.nano_usd is not None:
                budgets[concerned] = event.nano_usd
            return replace(policy, budgets=budgets)


def fold(events: Iterable[PolicyEvent]) -> Policy:
    """The policy after these events."""
    policy = Policy()
    for event in events:
        policy = evolve(policy, event)
    return policy


def stream_of(org: str) -> str:
    """The stream of an organisation's policy."""
    return stream_id("users", org, "policy", org)


async def read_policy(log: EventLog, org: str) -> Policy:
    """The policy as it is now."""
    return fold(recorded.event for recorded in await log.read_stream(stream_of(org)))
