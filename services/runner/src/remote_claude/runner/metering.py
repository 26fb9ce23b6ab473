"""From a wall clock and an allocation to what is billed. Nothing that a sandbox says goes in here."""

from __future__ import annotations

from collections.abc import Mapping

from remote_claude.contracts.runner import Cumulative
from remote_claude.contracts.scheduler import Limits


def used(
    limits: Limits,
    wall_ms: int,
    *,
    model_tokens: Mapping[str, Mapping[str, int]] | None = None,
    model_nano_usd: int = 0,
    egress_bytes: int = 0,
) -> Cumulative:
    """Allocation times wall clock, whole thousandths of vCPU-seconds and GiB-seconds, rounded down."""
    return Cumulative(
        vcpu_ms=wall_ms * limits.vcpu_millis // 1000,
        gib_ms=wall_ms * limits.memory_mib // 1024,
        egress_bytes=egress_bytes,
        model_tokens={model: dict(kinds) for model, kinds in (model_tokens or {}).items()},
        model_nano_usd=model_nano_usd,
    )
