"""A task's budget: checked before each model call, over all attempts."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import httpx2

from event_examples import WINDOW
from messages_api import MODEL, messages_api, text, usage
from remote_claude.contracts import REGISTRY
from remote_claude.contracts.model_prices import list_prices
from remote_claude.contracts.runner import Cumulative, ModelUse, OpenModelCall
from remote_claude.eventsourcing.memory import InMemoryEventLog
from remote_claude.runner.domain.attempt import AttemptId, Finish, Measured, Sample, Start
from remote_claude.runner.handlers import AttemptLog
from remote_claude.runner.model_proxy import ModelProxy, Upstream
from remote_claude.runner.model_proxy.budget import Budget, of_task
from remote_claude.runner.model_proxy.model_usage import ModelUsage

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
KEY = "sk-ant-made-up-for-this-test"
ASK = {"model": MODEL, "max_tokens": 100, "tools": [{"name": "Bash"}], "messages": []}
OPEN = OpenModelCall(sent=ModelUse(provider="anthropic", model=MODEL), nano_usd=30, upper_nano_usd=900)


def used(nano_usd: int, *open_calls: OpenModelCall) -> ModelUsage:
    return ModelUsage(Cumulative(model_nano_usd=nano_usd), open_calls)


def test_a_budget_is_exhausted_by_what_is_used_and_what_is_sent() -> None:
    assert Budget(100).exhausted_by(used(69, OPEN)) is None
    failure = Budget(2_500_000_000, spent=2_000_000_000).exhausted_by(used(500_000_000))
    assert failure is not None
    assert failure.reason == "budget_exhausted"
    assert failure.detail.startswith("The task has spent $2.50 of its budget of $2.50.")
    assert Budget(100).exhausted_by(used(70, OPEN)) is not None


def test_a_customers_own_key_spends_the_budget_too() -> None:
    own = ModelUsage(Cumulative(customer_model_nano_usd=100))
    assert Budget(100).exhausted_by(own) is not None


async def test_earlier_attempts_have_spent_what_is_on_record() -> None:
    log = InMemoryEventLog(REGISTRY)
    for attempt, end in ((1, True), (2, False)):
        attempt_log = AttemptLog(
            log, lambda: NOW, AttemptId("org_a", "task_1", attempt, "run_1"), f"cause{attempt}"
        )
        measured = Measured(cumulative=Cumulative(model_nano_usd=100), open_calls=(OPEN,), **WINDOW)
        await attempt_log.record(Start(), Sample(measured))
        if end:
            await attempt_log.record(Finish(outcome="lost", reason="worker_lost"))
    assert await of_task(log, "org_a", "task_1", 3, 1_000) == Budget(1_000, spent=260)


async def test_the_call_after_the_last_dollar_is_refused_and_not_tried_again() -> None:
    first = list_prices().nano_usd(
        ModelUse(provider="anthropic", model=MODEL, quantities={"output": usage(0)["output_tokens"]})
    )
    with tempfile.TemporaryDirectory(prefix="rc-", dir="/tmp") as folder:
        socket = Path(folder) / "model.sock"
        transport = httpx2.AsyncHTTPTransport(uds=str(socket))
        async with messages_api([text("Hello")] * 2) as api:
            environment = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": api.base_url}
            upstream = Upstream.from_environment(environment)
            assert upstream
            async with (
                ModelProxy(socket, upstream, budget=Budget(first)) as proxy,
                httpx2.AsyncClient(transport=transport, base_url="http://model") as client,
            ):
                assert (await client.post("/v1/messages", json=ASK)).status_code == 200
                refused = await client.post("/v1/messages", json=ASK)
                assert (refused.status_code, refused.headers["x-should-retry"]) == (403, "false")
                assert "--budget" in refused.json()["error"]["message"]
                assert proxy.failure is not None
                assert proxy.failure.reason == "budget_exhausted"
                assert len(api.requests) == 1
