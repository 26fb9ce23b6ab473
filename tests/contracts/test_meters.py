"""Everything that names meters names those of `meters.toml`: price books, usage, routes, dashboard, guide."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from remote_claude.billing.api.models import UsageAnswer
from remote_claude.billing.domain.invoice import DESCRIPTIONS
from remote_claude.billing.domain.rating import UNITS
from remote_claude.billing.projections.metering import EXECUTIONS, STORAGE, flatten
from remote_claude.contracts.meters import declared
from remote_claude.contracts.prices import Meter
from remote_claude.contracts.runner import Cumulative, ModelUse

ROOT = Path(__file__).parents[2]
METERS = declared().meters
PRICED = [name for name, meter in METERS.items() if meter.priced]


def test_price_books_and_the_api_take_the_meters_that_can_be_priced() -> None:
    assert list(get_args(Meter)) == PRICED
    generated = (ROOT / "shared/client/src/remote_claude/client/operations.py").read_text()
    [of_api] = re.findall(r"meter: Literal\[([^\]]+)\]", generated)
    assert re.findall(r'"(\w+)"', of_api) == PRICED


def test_usage_is_metered_and_shown_by_the_declared_names() -> None:
    used = [
        ModelUse(provider="x", model="m", quantities={"input": 1}, paid_by=who)
        for who in ("operator", "customer")
    ]
    everything = Cumulative(
        vcpu_ms=1,
        gib_ms=1,
        egress_bytes=1,
        model_nano_usd=1,
        customer_model_nano_usd=1,
        model_use=tuple(used),
    )
    assert {key.split("|")[0] for key in flatten(everything)} | {EXECUTIONS, STORAGE} == METERS.keys()
    assert [*PRICED[:6], "customer_model_nano_usd"] == [
        n for n in METERS if n in UsageAnswer.model_fields and n != "model_tokens"
    ]


def test_an_invoice_and_the_dashboard_call_a_meter_by_its_name() -> None:
    source = (ROOT / "services/gateway/web/src/text/format.ts").read_text()
    shown = dict(re.findall(r'^  (\w+): "([^"]+)",$', source, re.MULTILINE))
    for name in PRICED:
        assert (shown[name], DESCRIPTIONS[name], UNITS[name]) == (
            METERS[name].name,
            METERS[name].name,
            METERS[name].unit,
        )


def test_the_guide_lists_the_meters() -> None:
    guide = (ROOT / "docs/guides/plans-and-prices.md").read_text()
    for name, meter in METERS.items():
        assert f"| `{name}` | {meter.unit} | {meter.counts} |" in guide
