"""What models cost: an operator overrides models of a versioned table, and an attempt keeps the table it began with."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from remote_claude.billing.handlers import Accounts, VersionTaken
from remote_claude.contracts import REGISTRY
from remote_claude.contracts.model_prices import InvalidModelPrices, list_prices, parse
from remote_claude.eventsourcing.memory import InMemoryEventLog
from remote_claude.runner.model_proxy.apis.anthropic import uses_of
from remote_claude.runner.model_proxy.model_usage import PaymentTerms, UsageMeter
from remote_claude.runner.model_proxy.published_prices import read_model_prices

MODEL = "claude-opus-5"
OWN = """
version = "own-1"
[models.claude-opus-5]
standard = { input = 4000, output = 20000, cache_write_5m = 5000, cache_write_1h = 8000, cache_read = 400 }
"""


async def test_an_operator_overrides_a_model_and_usage_names_the_version() -> None:
    log = InMemoryEventLog(REGISTRY)
    accounts = Accounts(log, lambda: datetime(2026, 12, 1, tzinfo=UTC))
    running = UsageMeter(PaymentTerms(prices=await read_model_prices(log)))
    position = await accounts.publish_model_prices(parse(OWN), "operator")
    assert await accounts.publish_model_prices(parse(OWN), "operator") == position
    following = UsageMeter(PaymentTerms(prices=await read_model_prices(log)))
    costs = []
    for meter in (running, following):
        meter.end(meter.begin(10, {"model": MODEL}), uses_of(meter.terms, MODEL, {"input_tokens": 1_000}))
        used = meter.usage().cumulative
        costs.append((used.model_nano_usd, used.price_table))
    assert costs == [(5_000_000, list_prices().version), (4_000_000, "own-1")]
    assert parse(OWN).models["claude-sonnet-5"] == list_prices().models["claude-sonnet-5"]


async def test_a_version_of_model_prices_never_changes_its_meaning() -> None:
    log = InMemoryEventLog(REGISTRY)
    accounts = Accounts(log, lambda: datetime(2026, 12, 1, tzinfo=UTC))
    await accounts.publish_model_prices(parse(OWN), "operator")
    with pytest.raises(VersionTaken):
        await accounts.publish_model_prices(parse(OWN.replace("4000", "3000")), "operator")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version = 1", "version"),
        (OWN.replace('"own-1"', f'"{list_prices().version}"'), "list prices"),
        (OWN.replace("cache_read = 400", "cache_read = -1"), "models.claude-opus-5.standard.cache_read"),
        (OWN.replace("cache_read", "cached"), "models.claude-opus-5.standard"),
        ("version = 'x", "no TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InvalidModelPrices, match=said):
        parse(text)
