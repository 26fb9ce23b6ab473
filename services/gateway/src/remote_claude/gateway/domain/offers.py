"""What the runners offer, folded from their events: agents, providers and capabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from remote_claude.contracts.runner import (
    CAPABILITIES,
    OPERATOR_MODEL,
    RunnerDrained,
    RunnerJoined,
    RunnerUndrained,
)
from remote_claude.contracts.users import SPEAKS
from remote_claude.gateway.domain.refusals import AgentUnavailable, NotOffered, UnknownAgent

if TYPE_CHECKING:
    from collections.abc import Mapping

KNOWN = frozenset({*SPEAKS, "shell", "noop"})
OPERATORS_API = "anthropic"
"""What the service speaks that the operator's key opens."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What one runner can do."""

    provider: str
    agents: frozenset[str]
    capabilities: frozenset[str]
    operator_model_for: str | None = None
    only_for: str | None = None
    """The one organisation whose tasks it takes; None: those of all."""

    def has_model_for(self, org: str) -> bool:
        """Whether the operator's credential for a model serves the organisation."""
        return OPERATOR_MODEL in self.capabilities and self.operator_model_for in (None, org)


class Offers:
    """The offers of all runners that have joined and not drained."""

    def __init__(self) -> None:
        self._by_runner: dict[str, Offer] = {}
        self._drained: dict[str, Offer] = {}

    def evolve(self, event: RunnerJoined | RunnerDrained | RunnerUndrained) -> None:
        """A runner that joins again replaces what it offered before."""
        match event:
            case RunnerJoined():
                agents, capabilities = frozenset(event.agents), frozenset(event.capabilities)
                self._by_runner[event.runner] = Offer(
                    event.provider, agents, capabilities, event.operator_model_for, event.only_for
                )
            case RunnerDrained():
                if (offer := self._by_runner.pop(event.runner, None)) is not None:
                    self._drained[event.runner] = offer
            case RunnerUndrained():
                if (offer := self._drained.pop(event.runner, None)) is not None:
                    self._by_runner[event.runner] = offer

    @property
    def agents(self) -> list[str]:
        """Every agent that is offered, in alphabetical order."""
        return sorted(frozenset().union(*(offer.agents for offer in self._by_runner.values())))

    @property
    def providers(self) -> list[str]:
        """Where tasks can run now, in alphabetical order."""
        return sorted({offer.provider for offer in self._by_runner.values()})

    @property
    def capabilities(self) -> list[str]:
        """Fields of a submission that some runner fulfils, in alphabetical order."""
        offered = frozenset().union(*(offer.capabilities for offer in self._by_runner.values()))
        return sorted(offered.intersection(CAPABILITIES))

    def without_model(self, agent: str, org: str) -> bool:
        """Whether a task for this agent needs a model credential of its own: no operator's serves its organisation."""
        offers = self._by_runner.values()
        usable = SPEAKS.get(agent, frozenset())
        served = OPERATORS_API in usable and any(o.has_model_for(org) for o in offers)
        return bool(usable and offers) and not served

    def check(self, agent: str, provider: str | None, wanted: Mapping[str, object], org: str) -> None:
        """Refuse what no runner offers to this organisation. `wanted` maps names of `CAPABILITIES` to what the submission asks of them, if anything.

        Raises `UnknownAgent`, `AgentUnavailable`, `NotOffered`. While there is no runner, a known agent and any provider
        are accepted: the task waits for one.
        """
        self._check_agent(agent)
        there = [offer for offer in self._by_runner.values() if offer.only_for in (None, org)]
        offers = [offer for offer in there if agent in offer.agents]
        if provider is not None and offers:
            offers = [offer for offer in offers if offer.provider == provider]
            if not offers:
                raise NotOffered("provider", provider, sorted({o.provider for o in there}))
        for capability in CAPABILITIES:
            if wanted.get(capability):
                offers = [offer for offer in offers if capability in offer.capabilities]
                if not offers:
                    raise NotOffered(capability)

    def _check_agent(self, agent: str) -> None:
        offered = self.agents
        if agent in offered:
            return
        known = KNOWN.union(offered)
        if agent not in known:
            raise UnknownAgent(agent, sorted(known))
        if self._by_runner:
            raise AgentUnavailable(agent, offered)
