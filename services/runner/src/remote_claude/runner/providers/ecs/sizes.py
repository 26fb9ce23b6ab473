"""What Fargate sells. Source: "Task CPU and memory" in the Amazon ECS Developer Guide."""

from __future__ import annotations

from dataclasses import dataclass

from remote_claude.runner.providers.base import SandboxLimits, SandboxTooLarge

_GIB = 1024
_MEMORY = {
    256: (512, 1 * _GIB, 2 * _GIB),
    512: tuple(range(1 * _GIB, 4 * _GIB + 1, _GIB)),
    1024: tuple(range(2 * _GIB, 8 * _GIB + 1, _GIB)),
    2048: tuple(range(4 * _GIB, 16 * _GIB + 1, _GIB)),
    4096: tuple(range(8 * _GIB, 30 * _GIB + 1, _GIB)),
    8192: tuple(range(16 * _GIB, 60 * _GIB + 1, 4 * _GIB)),
    16384: tuple(range(32 * _GIB, 120 * _GIB + 1, 8 * _GIB)),
}
"""CPU units (1024 are one vCPU) to MiB."""
_DISK_GIB = (20, 200)
"""What every task has, and the most that it can have."""


@dataclass(frozen=True, slots=True)
class EcsTaskSize:
    """What one task gets."""

    cpu: int
    """In CPU units, of which 1024 are one vCPU."""
    memory_mib: int
    disk_gib: int


def fargate_size(limits: SandboxLimits) -> EcsTaskSize:
    """The smallest size that holds the limits. Raises `SandboxTooLarge`."""
    disk_gib = max(-(-limits.disk_mib // _GIB), _DISK_GIB[0])
    needed = -(-limits.vcpu_millis * 1024 // 1000)
    for cpu, memories in _MEMORY.items():
        if cpu >= needed and disk_gib <= _DISK_GIB[1]:
            for memory in memories:
                if memory >= limits.memory_mib:
                    return EcsTaskSize(cpu, memory, disk_gib)
    raise SandboxTooLarge(
        f"Fargate has no task of {limits.vcpu_millis} vCPU-millis, {limits.memory_mib} MiB and {limits.disk_mib} MiB of "
        "disk: at most 16 vCPU, 120 GiB and 200 GiB of disk; ask for less, or use another provider"
    )
