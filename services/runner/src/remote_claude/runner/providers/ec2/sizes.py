"""Which instance holds a task. Source: "Amazon EC2 instance types", families T3 and M7i, x86-64."""

from __future__ import annotations

from dataclasses import dataclass

from remote_claude.runner.providers.base import SandboxLimits, SandboxTooLarge

_TYPES = (
    ("t3.micro", 2, 1), ("t3.small", 2, 2), ("t3.medium", 2, 4), ("t3.large", 2, 8), ("t3.xlarge", 4, 16),
    ("t3.2xlarge", 8, 32), ("m7i.4xlarge", 16, 64), ("m7i.8xlarge", 32, 128),
)  # fmt: skip
"""Type, vCPUs and GiB, the smallest first."""
_SYSTEM_MIB = 400
"""For the machine's own system and Docker."""
_SYSTEM_GIB, _MOST_GIB = 8, 16384
"""The same of its disk, and the largest disk."""


@dataclass(frozen=True, slots=True)
class InstanceSize:
    """What one instance has."""

    type: str
    vcpus: int
    memory_mib: int
    disk_gib: int


def ec2_size(limits: SandboxLimits) -> InstanceSize:
    """The smallest that holds the limits. Raises `SandboxTooLarge`."""
    disk_gib = -(-limits.disk_mib // 1024) + _SYSTEM_GIB
    for type, vcpus, memory_gib in _TYPES:
        memory_mib = memory_gib * 1024
        if (
            vcpus * 1000 >= limits.vcpu_millis
            and memory_mib >= limits.memory_mib + _SYSTEM_MIB
            and disk_gib <= _MOST_GIB
        ):
            return InstanceSize(type, vcpus, memory_mib, disk_gib)
    raise SandboxTooLarge(
        f"there is no instance for {limits.vcpu_millis} vCPU-millis and {limits.memory_mib} MiB: at most 32 vCPU and 127 GiB; "
        "ask for less, or use another provider"
    )
