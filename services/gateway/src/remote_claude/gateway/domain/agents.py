"""Which agents there are, folded from the runners that have joined."""

from __future__ import annotations

from remote_claude.contracts.runner import RunnerDrained, RunnerJoined
from remote_claude.gateway.domain.refusals import AgentUnavailable, UnknownAgent

KNOWN = frozenset({"claude", "shell", "noop"})


class Agents:
    """The agents that live runners offer."""

    def __init__(self) -> None:
        self._offers: dict[str, frozenset[str]] = {}

    def evolve(self, event: RunnerJoined | RunnerDrained) -> None:
        """A runner that joins again replaces what it offered before."""
        match event:
            case RunnerJoined():
                self._offers[event.runner] = frozenset(event.agents)
            case RunnerDrained():
                self._offers.pop(event.runner, None)

    @property
    def offered(self) -> list[str]:
        """In alphabetical order."""
        return sorted(frozenset().union(*self._offers.values()))

    def check(self, agent: str) -> None:
        """Raises `UnknownAgent`, `AgentUnavailable`. While no runner is there, whatever is known may wait for one."""
        offered = self.offered
        if agent in offered:
            return
        known = KNOWN.union(offered)
        if agent not in known:
            raise UnknownAgent(agent, sorted(known))
        if self._offers:
            raise AgentUnavailable(agent, offered)
