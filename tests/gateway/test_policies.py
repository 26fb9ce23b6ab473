"""What an organisation's policy makes of what a task asks for."""

from __future__ import annotations

from typing import Any

import pytest

from remote_claude.contracts.users import OrgPolicySet
from remote_claude.gateway.domain.policies import Choices, PolicyForbids, apply


def given(**rules: Any) -> OrgPolicySet:
    return OrgPolicySet(org="org_1", by="user_1", **rules)


@pytest.mark.parametrize(
    ("rules", "asked", "rule"),
    [
        ({"agents": ("claude",)}, {"agent": "shell"}, "agents"),
        ({"models": ("claude-sonnet-*",)}, {"model": "claude-opus-4"}, "models"),
        ({"providers": ("docker",)}, {"provider": "local"}, "providers"),
        ({"images": ("registry.corp/*",)}, {"image": "python:3.12"}, "images"),
        ({"hosts": ("default",)}, {"network": "default,evil.example"}, "hosts"),
        ({"hosts": ("api.example:8443",)}, {"network": "api.example"}, "hosts"),
        ({"max_budget_nano_usd": 10**9}, {"budget_nano_usd": 2 * 10**9}, "max-budget"),
    ],
)
def test_what_a_rule_does_not_allow_is_refused_with_the_rule_and_who_can_change_it(
    rules: dict[str, Any], asked: dict[str, Any], rule: str
) -> None:
    with pytest.raises(PolicyForbids) as refused:
        apply(given(**rules), Choices(**{"agent": "claude", **asked}))
    assert refused.value.extra == {"rule": rule}
    assert "owner or admin" in refused.value.detail


@pytest.mark.parametrize(
    ("rules", "asked", "gets"),
    [
        ({}, {"image": "any", "network": "x.example"}, {"image": "any", "network": "x.example"}),
        ({"models": ("claude-sonnet-*", "claude-haiku-4")}, {}, {"model": "claude-haiku-4"}),
        ({"providers": ("docker", "local")}, {}, {"provider": "docker"}),
        ({"default_provider": "docker"}, {"provider": "local"}, {"provider": "local"}),
        ({"network": ("*.corp.example",)}, {}, {"network": "default,*.corp.example"}),
        ({"network": ("*.corp.example",)}, {"network": "none"}, {"network": "none"}),
        ({"network": ("*.corp.example",)}, {"network": "x.example"}, {"network": "x.example"}),
        ({"hosts": ("*.example",)}, {}, {"network": "*.example"}),
        ({"hosts": ("*.example",)}, {"network": "a.b.example:443"}, {"network": "a.b.example:443"}),
        ({"max_budget_nano_usd": 5}, {}, {"budget_nano_usd": 5}),
        ({"max_budget_nano_usd": 5}, {"budget_nano_usd": 2}, {"budget_nano_usd": 2}),
    ],
)
def test_a_task_gets_what_is_allowed_and_the_defaults_of_its_organisation(
    rules: dict[str, Any], asked: dict[str, Any], gets: dict[str, Any]
) -> None:
    assert apply(given(**rules), Choices(agent="claude", **asked)) == Choices(agent="claude", **gets)
