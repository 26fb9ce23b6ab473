"""Whether the runners that are there have the size that a plan gives to a task."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from remote_claude.contracts.billing import Entitlements
from remote_claude.contracts.runner import Resources, RunnerDrained, RunnerJoined
from remote_claude.eventsourcing import EventLog


async def slots(log: EventLog) -> list[Resources]:
    """What one task may get of each runner that has joined and not drained."""
    found: dict[str, Resources] = {}
    async with aclosing(log.read(subjects="ev.runner._.runner.>")) as batches:
        async for batch in batches:
            for recorded in batch:
                if recorded.type == RunnerJoined.type and recorded.event.only_for is None:
                    found[recorded.event.runner] = recorded.event.per_attempt
                elif recorded.type == RunnerDrained.type:
                    found.pop(recorded.event.runner, None)
    return list(found.values())


def too_large(plan: Entitlements, runners: Sequence[Resources]) -> str | None:
    """Why no runner can take a task of the plan; None when one can, or when there is no runner yet."""
    if not runners or any(
        r.vcpu_millis >= plan.vcpu_millis and r.memory_mib >= plan.memory_mib for r in runners
    ):
        return None
    largest = max(runners, key=lambda runner: (runner.vcpu_millis, runner.memory_mib))
    return (
        f"the plan gives each task {_size(plan)}, and no runner has so much for one: the largest has {_size(largest)}. "
        "Tasks wait until a larger runner joins, or until RCLAUDE_RUNNER_VCPU_MILLIS and RCLAUDE_RUNNER_MEMORY_MIB "
        "allow more; a smaller plan helps too."
    )


def _size(of: Entitlements | Resources) -> str:
    return f"{of.vcpu_millis / 1000:g} vCPU and {of.memory_mib} MiB"
