"""What Fly sells. Source: "Machine sizing" in Fly's documentation: shared CPUs with 256 MiB to 2 GiB for each, performance
CPUs with 2 to 8 GiB for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from remote_claude.runner.providers.base import SandboxLimits, SandboxTooLarge

_CPUS = (1, 2, 4, 8, 16)
_KINDS: tuple[tuple[Literal["shared", "performance"], tuple[int, ...], int, int], ...] = (
    ("shared", _CPUS[:4], 256, 2048),
    ("performance", _CPUS, 2048, 8192),
)
"""Kind, CPUs, and MiB for each CPU: least and most."""
_STEP_MIB = 256


@dataclass(frozen=True, slots=True)
class FlyMachineSize:
    """What one Machine gets."""

    kind: Literal["shared", "performance"]
    cpus: int
    memory_mib: int


def fly_size(limits: SandboxLimits) -> FlyMachineSize:
    """The smallest size that holds the limits. Raises `SandboxTooLarge`."""
    wanted = -(-limits.memory_mib // _STEP_MIB) * _STEP_MIB
    for kind, counts, least, most in _KINDS:
        for cpus in counts:
            if cpus * 1000 >= limits.vcpu_millis and wanted <= cpus * most:
                return FlyMachineSize(kind, cpus, max(wanted, cpus * least))
    raise SandboxTooLarge(
        f"Fly has no Machine of {limits.vcpu_millis} vCPU-millis and {limits.memory_mib} MiB: at most 16 CPUs and 128 GiB; "
        "ask for less, or use another provider"
    )
