"""What organisations allow: folded from their policies, and applied to what a submission asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from remote_claude.access.policy import Policy, PolicyEvent, evolve
from remote_claude.contracts.refusals import Refusal
from remote_claude.contracts.users import SPEAKS, OrgPolicySet
from remote_claude.outbound.hosts import DEFAULT, NONE, network

PORTS = (None, 80, 443)
"""Those of a host without a port."""
WHO = "An owner or admin of the organisation can change the policy: `rclaude org policy set`."


class PolicyForbids(Refusal):
    """The organisation's policy does not allow what a task asks for. `rule` is the one that does not."""

    code = "not_allowed_by_policy"
    status = 403

    def __init__(self, rule: str, chosen: str, allowed: str) -> None:
        super().__init__(
            f"The policy of your organisation ({rule}) does not allow {chosen}. Allowed: {allowed}. {WHO}",
            rule=rule,
        )


class BudgetExhausted(Refusal):
    """A month's money is spent."""

    code = "budget_exhausted"
    status = 402


class Policies:
    """The policies of all organisations."""

    def __init__(self) -> None:
        self._by_org: dict[str, Policy] = {}

    def evolve(self, event: PolicyEvent) -> None:
        """Take an event into account."""
        self._by_org[event.org] = evolve(self.of(event.org), event)

    def of(self, org: str) -> Policy:
        """The policy of an organisation."""
        return self._by_org.get(org, Policy())


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a submission asks for, as far as a policy has a say in it."""

    agent: str
    model: str | None = None
    provider: str | None = None
    image: str | None = None
    network: str | None = None
    budget_nano_usd: int | None = None


def apply(rules: OrgPolicySet | None, chosen: Choices) -> Choices:
    """What the task gets: what it asks for, and the organisation's defaults. Raises `PolicyForbids`."""
    if rules is None:
        return chosen
    if rules.agents and chosen.agent not in rules.agents:
        raise PolicyForbids("agents", f"the agent {chosen.agent!r}", ", ".join(rules.agents))
    model = chosen.model
    if model is None and chosen.agent in SPEAKS:
        model = next((name for name in rules.models if "*" not in name), None)
    _matches("models", "the model", model, rules.models)
    _matches("images", "the image", chosen.image, rules.images)
    provider = chosen.provider or rules.default_provider or next(iter(rules.providers), None)
    if rules.providers and provider not in rules.providers:
        raise PolicyForbids("providers", f"the provider {provider!r}", ", ".join(rules.providers))
    return replace(
        chosen,
        model=model,
        provider=provider,
        network=_network(rules, chosen.network),
        budget_nano_usd=_budget(rules.max_budget_nano_usd, chosen.budget_nano_usd),
    )


def _matches(rule: str, what: str, name: str | None, patterns: Sequence[str]) -> None:
    if name is not None and patterns and not any(fnmatchcase(name, pattern) for pattern in patterns):
        raise PolicyForbids(rule, f"{what} {name!r}", ", ".join(patterns))


def _budget(greatest: int | None, chosen: int | None) -> int | None:
    if greatest is None:
        return chosen
    if chosen is not None and chosen > greatest:
        raise PolicyForbids("max-budget", f"--budget {chosen / 1e9:,.2f}", f"at most {greatest / 1e9:,.2f}")
    return chosen or greatest


def _network(rules: OrgPolicySet, chosen: str | None) -> str | None:
    """The hosts that the task may reach; the organisation's own join the default list."""
    if chosen is None and not rules.hosts and not rules.network:
        return None
    if chosen is None:
        chosen = DEFAULT if not rules.hosts or DEFAULT in rules.hosts else ",".join(rules.hosts)
    hosts = network(chosen)
    if hosts == [(NONE, None)]:
        return chosen
    if rules.hosts:
        allowed = network(",".join((*rules.hosts, *rules.network)))
        for host, port in hosts:
            if not any(_covers(pattern, only, host, port) for pattern, only in allowed):
                raise PolicyForbids(
                    "hosts", f"the network host {host!r}", ", ".join((*rules.hosts, *rules.network))
                )
    return ",".join((chosen, *rules.network)) if (DEFAULT, None) in hosts else chosen


def _covers(pattern: str, only: int | None, host: str, port: int | None) -> bool:
    under = pattern.startswith("*.") and host.removeprefix("*").endswith(pattern[1:])
    return (host == pattern or under) and (port == only or (only is None and port in PORTS))
