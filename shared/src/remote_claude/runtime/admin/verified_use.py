"""What must hold of an attempt's samples: their order, their windows, what time allows, and the model's dollars."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from remote_claude.contracts.model_prices import ModelPrices, list_prices
from remote_claude.contracts.runner import ModelUse

MEASURES = ("vcpu_ms", "gib_ms", "egress_bytes", "model_nano_usd", "customer_model_nano_usd")
PAID_BY = {"model_nano_usd": "operator", "customer_model_nano_usd": "customer"}
CLOCKS_DIFFER = timedelta(seconds=5)
"""How far the clocks of the scheduler's and a runner's machine may be apart."""


@dataclass(frozen=True, slots=True)
class AttemptAssignment:
    """When an attempt was assigned, to whom, and what it may use."""

    at: datetime
    runner: str
    vcpu_millis: int
    memory_mib: int
    duration_s: int
    lease_s: int


class VerifiedUse:
    """The last sample of each attempt that goes on, and the tables of model prices by version."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, int], dict[str, Any]] = {}
        listed = list_prices()
        self._prices = {listed.version: listed}

    def published(self, prices: dict[str, Any]) -> None:
        """Take the table of a `ModelPricesPublished`."""
        table = ModelPrices.model_validate(prices)
        self._prices[table.version] = table

    def ended(self, name: str, attempt: int) -> None:
        """No sample of the attempt follows."""
        self._last.pop((name, attempt), None)

    def sampled(
        self, name: str, attempt: int, assignment: AttemptAssignment, sample: dict[str, Any], at: str
    ) -> list[tuple[str, str]]:
        """Take a sample that was recorded at `at`; the rules that it breaks, each with what is wrong."""
        last = self._last.get((name, attempt))
        self._last[name, attempt] = sample
        broken = [
            *_ordered(sample, last),
            *_windowed(sample, last, assignment, at),
            *_limited(sample["cumulative"], assignment, at),
            *self._priced(sample["cumulative"]),
        ]
        return [(rule, f"{name}-{attempt}: {detail}") for rule, detail in broken]

    def _priced(self, used: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """The amounts can be derived again. Each call may have been rounded up for itself."""
        version = used["price_table"]
        prices = self._prices.get(version)
        if version is not None and prices is None:  # the list prices of another release
            return
        uses = [ModelUse.model_validate(use) for use in used["model_use"]]
        for measure, payer in PAID_BY.items():
            paid = [use for use in uses if use.paid_by == payer]
            derived = sum(prices.nano_usd(use) for use in paid) if prices is not None else 0
            if not derived <= int(used[measure]) <= derived + sum(use.calls for use in paid):
                yield (
                    "model use comes to its price",
                    f"{measure} {used[measure]}, and {derived} by the table {version}",
                )


def _ordered(sample: dict[str, Any], last: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    before = last["sequence"] if last is not None else 0
    if sample["sequence"] != before + 1:
        yield "samples are numbered without a gap", f"{sample['sequence']} after {before}"
    if last is None:
        return
    for measure in MEASURES:
        if int(sample["cumulative"][measure]) < int(last["cumulative"][measure]):
            yield "cumulative use never falls", measure


def _windowed(
    sample: dict[str, Any], last: dict[str, Any] | None, assignment: AttemptAssignment, at: str
) -> Iterator[tuple[str, str]]:
    """The month of the use follows from its window: from the attempt's start until the sample is recorded, at most."""
    start, end = _instant(sample["measured_from"]), _instant(sample["measured_to"])
    goes_on = last is None or (
        start == _instant(last["measured_from"]) and end >= _instant(last["measured_to"])
    )
    earliest, latest = assignment.at - CLOCKS_DIFFER, _instant(at) + CLOCKS_DIFFER
    if not goes_on or not earliest <= start <= end <= latest:
        yield (
            "use is measured from the attempt's start until its sample",
            f"{sample['measured_from']} to {sample['measured_to']}, recorded at {at}",
        )


def _limited(used: dict[str, Any], assignment: AttemptAssignment, at: str) -> Iterator[tuple[str, str]]:
    """What is measured by time is at most the size that was allocated, times the time that has passed.

    A sandbox whose runner is frozen ends itself within a lease.
    """
    longest = timedelta(seconds=assignment.duration_s + assignment.lease_s)
    elapsed = min(_instant(at) - assignment.at, longest)
    seconds = (elapsed + CLOCKS_DIFFER).total_seconds()
    if int(used["vcpu_ms"]) > assignment.vcpu_millis * seconds:
        yield "use stays within limits and time", f"vcpu_ms {used['vcpu_ms']}"
    if int(used["gib_ms"]) * 1024 > assignment.memory_mib * 1000 * seconds:
        yield "use stays within limits and time", f"gib_ms {used['gib_ms']}"


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
