"""What Container Instances sells. Source: "Resource availability & quota limits" of Azure Container Instances: whole CPUs up to 4,
memory up to 16 GB in steps of 0.1."""

from __future__ import annotations

import math
from dataclasses import dataclass

from remote_claude.runner.providers.base import SandboxLimits, SandboxTooLarge

_CPUS, _MEMORY_GB = 4, 16.0
_LEAST_GB = 0.5


@dataclass(frozen=True, slots=True)
class ContainerGroupSize:
    """What one group gets."""

    cpus: int
    memory_gb: float


def container_size(limits: SandboxLimits) -> ContainerGroupSize:
    """The smallest size that holds the limits. Raises `SandboxTooLarge`."""
    cpus = -(-limits.vcpu_millis // 1000)
    memory = max(math.ceil(limits.memory_mib * 10 / 1024) / 10, _LEAST_GB)
    if cpus > _CPUS or memory > _MEMORY_GB:
        raise SandboxTooLarge(
            f"Container Instances has no group of {limits.vcpu_millis} vCPU-millis and {limits.memory_mib} MiB: at most 4 "
            "CPUs and 16 GB; ask for less, or use another provider"
        )
    return ContainerGroupSize(cpus, memory)
