"""What Cloud Run sells. Source: "Configure memory limits" and "Configure CPU limits" of Cloud Run jobs: 1, 2, 4, 6 or 8 CPUs, 512 MiB to
32 GiB, with a least number of CPUs for larger memory, and a least memory for 4 CPUs and more."""

from __future__ import annotations

from dataclasses import dataclass

from remote_claude.runner.providers.base import SandboxLimits, SandboxTooLarge

_SIZES = {1: (512, 4096), 2: (512, 8192), 4: (2048, 16384), 6: (4096, 24576), 8: (4096, 32768)}
"""CPUs to MiB: least and most."""


@dataclass(frozen=True, slots=True)
class CloudRunSize:
    """What one execution gets."""

    cpus: int
    memory_mib: int


def cloud_run_size(limits: SandboxLimits) -> CloudRunSize:
    """The smallest size that holds the limits; files are memory there and count. Raises `SandboxTooLarge`."""
    for cpus, (least, most) in _SIZES.items():
        if cpus * 1000 >= limits.vcpu_millis and limits.memory_mib <= most:
            return CloudRunSize(cpus, max(limits.memory_mib, least))
    raise SandboxTooLarge(
        f"Cloud Run has no job of {limits.vcpu_millis} vCPU-millis and {limits.memory_mib} MiB: at most 8 CPUs and 32 GiB; "
        "ask for less, or use another provider"
    )
