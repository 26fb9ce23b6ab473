"""The plans that can be had, what each allows, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass

from remote_claude.contracts.billing import Entitlements, PriceBook

HOUR = 3600

PAY_PER_USE = {"per_vcpu_ms": "11", "per_gib_ms": "1"}
"""Nano-dollars: $0.0396 a vCPU-hour and $0.0036 a GiB-hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    name: str
    entitlements: Entitlements
    price_book: PriceBook


PLANS: dict[str, Plan] = {
    plan.name: plan
    for plan in (
        Plan(
            name="free",
            entitlements=Entitlements(
                executions_per_month=100,
                vcpu_millis=2000,
                memory_mib=4096,
                duration_s=HOUR // 2,
                concurrency=2,
            ),
            price_book=PriceBook(version="free-1", included_executions=100),
        ),
        Plan(
            name="pro",
            entitlements=Entitlements(
                executions_per_month=1000,
                vcpu_millis=4000,
                memory_mib=8192,
                duration_s=2 * HOUR,
                concurrency=10,
            ),
            price_book=PriceBook(version="pro-1", subscription="29000000000", included_executions=1000),
        ),
        Plan(
            name="enterprise",
            entitlements=Entitlements(
                executions_per_month=None, vcpu_millis=8000, memory_mib=16384, duration_s=8 * HOUR
            ),
            price_book=PriceBook(version="enterprise-1", **PAY_PER_USE),
        ),
        # On one's own machine nobody is charged: the prices show what the work would be worth.
        Plan(
            name="self-hosted",
            entitlements=Entitlements(
                executions_per_month=None, vcpu_millis=2000, memory_mib=4096, duration_s=2 * HOUR
            ),
            price_book=PriceBook(version="self-hosted-1", **PAY_PER_USE),
        ),
    )
}
