"""What an organisation allows and spends: rules at submission, and a month's money before each call."""

from __future__ import annotations

from pathlib import Path

import pytest

from messages_api import serving_in_a_thread, text, tool
from product import Product, product

PLANS = Path(__file__).parents[2] / "services/billing/src/remote_claude/billing/domain/plans.toml"


@pytest.mark.timeout(300)
def test_the_policy_and_the_months_money_bound_every_task(tmp_path: Path) -> None:
    turns = (
        [text("I write."), tool("Write", file_path="/workspace/one.txt", content="one\n")],
        [text("Done.")],
        [text("I write for the team."), tool("Write", file_path="/workspace/two.txt", content="two\n")],
        [text("I write on the plan."), tool("Write", file_path="/workspace/three.txt", content="three\n")],
    )
    with (
        serving_in_a_thread(*turns) as api,
        product(
            {"ANTHROPIC_API_KEY": "sk-ant-made-up-for-this-test", "ANTHROPIC_BASE_URL": api.base_url}
        ) as one,
    ):
        one.ok("org", "policy", "set", "--agents", "claude", "--max-budget", "5")
        assert one.ok("org", "policy", "show", "--json").json["agents"] == ["claude"]
        refused = one.run("run", "--agent", "shell", "--no-repo", "true")
        assert refused.code != 0
        assert "rclaude org policy set" in refused.err
        assert "OrgPolicySet" in one.ok("audit").out

        one.ok("budget", "set", "0.00001")
        ended = one.run("run", "--no-repo", "--json", "write one")
        assert ended.json["reason"] == "budget_exhausted", ended.out + ended.err
        assert "rclaude budget set" in ended.json["detail"]
        assert len(api.requests) == 1, "the first call had money, the next one has none"
        month = one.ok("budget", "show", "--json").json
        assert month["organisation"]["spent_nano_usd"] == month["person"]["spent_nano_usd"] > 10_000
        spent = one.run("run", "--no-repo", "again")
        assert "rclaude budget set" in spent.err
        one.ok("budget", "set", "any")
        assert one.run("run", "--no-repo", "again").code == 0

        team = one.ok("org", "team", "create", "core").out.strip()
        one.ok("org", "team", "add", "core", one.ok("whoami", "--json").json["user"])
        one.ok("budget", "set", "0.00001", "--team", "core")
        assert team in one.ok("org", "team", "list").out
        ended = one.run("run", "--no-repo", "--json", "--team", "core", "write two")
        assert ended.json["reason"] == "budget_exhausted", ended.out + ended.err
        assert ended.json["detail"].startswith("Your team has spent"), "at the attempt"
        asked = len(api.requests)
        spent = one.run("run", "--no-repo", "--team", "core", "again")
        assert "Your team has spent" in spent.err, "at the submission"
        assert len(api.requests) == asked
        one.ok("budget", "set", "any", "--team", "core")
        _the_plans_dollars_end_a_running_task(one, tmp_path / "plans.toml")
        assert len(api.requests) == asked + 1
        one.verified()


def _the_plans_dollars_end_a_running_task(one: Product, file: Path) -> None:
    """A hard limit of the plan stops a task without a budget of its own before the call after the last dollar."""
    one.ok("org", "policy", "set", "--max-budget", "any")  # without a budget for each task
    spent = one.ok("usage", "--json").json["model_nano_usd"]
    text = PLANS.read_text().replace('"2026-11"', '"test"').replace('"free-1"', '"free-2"')
    bound = f"executions_per_month = 100\nmodel_nano_usd = {spent + 5000}\n"
    file.write_text(text.replace("executions_per_month = 100\n", bound))
    assert one.admin("prices", "publish", str(file)).code == 0
    assert one.admin("plan", "set", one.status()["org"], "free").code == 0
    ended = one.run("run", "--no-repo", "--json", "write three")
    assert ended.json.get("reason") == "budget_exhausted", ended.out + ended.err
    assert ended.json["detail"].startswith("The plan free allows $"), ended.json["detail"]
