"""Content of tasks whose time by the plan is over is removed; what is shared with others, and what it cost, stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway_stack import RUNNER, Member, Stack, eventually, output
from remote_claude.contracts.billing import Entitlements, PlanChanged, Retention
from remote_claude.contracts.runner import CheckpointSaved, Result
from remote_claude.eventsourcing.events import stream_id
from remote_claude.gateway.content_removal import ContentRemoval
from remote_claude.gateway.domain.retention import cutoffs, kept_until
from remote_claude.runtime.manifests import Manifest

ENDED = "2026-01-31T12:00:00.000000Z"
KEPT = Retention(output_days=7, checkpoints_days=14)
LATER = timedelta(days=10)


def test_each_kind_is_kept_for_the_days_of_the_plan() -> None:
    assert kept_until(KEPT, ENDED) == {
        "output": "2026-02-07T12:00:00.000000Z",
        "artifacts": None,
        "checkpoints": "2026-02-14T12:00:00.000000Z",
    }
    assert cutoffs(KEPT, datetime(2026, 2, 7, 12, tzinfo=UTC)) == {
        "output": ENDED,
        "checkpoints": "2026-01-24T12:00:00.000000Z",
    }


@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_due_is_removed_with_its_objects_and_what_others_refer_to_stays(
    stack: Stack, member: Member
) -> None:
    org, runtime = member.org, stack.host.runtime
    allowed = Entitlements(
        executions_per_month=None, vcpu_millis=1000, memory_mib=512, duration_s=600,
        retention=Retention(output_days=9, artifacts_days=20, checkpoints_days=9),
    )  # fmt: skip
    await stack.say(
        PlanChanged(org=org, plan="kept", entitlements=allowed), stream_id("billing", org, "account", org)
    )
    shared = await runtime.objects.put(org, b"a chunk that two tasks have")
    own = await runtime.objects.put(org, b"a chunk of the old one")

    async def checkpoint(task: str, *chunks: str) -> str:
        manifest = Manifest(turn=1, messages=1, size=1, chunks=chunks)
        stored = await runtime.objects.put(org, manifest.model_dump_json().encode())
        saved = CheckpointSaved(
            task=task, org=org, attempt=1, runner=RUNNER, sequence=1, turn=1, manifest=stored, size=1
        )
        await stack.run(saved)
        return stored

    old, running = await member.submit("old"), await member.submit("running")
    for task in (old, running):
        await stack.start(org, task)
    manifest = await checkpoint(old, shared, own)
    await checkpoint(running, shared)
    patch = await runtime.objects.put(org, b"a patch")
    await stack.finish(org, old, frames=output("printed"), result=Result(patch=patch))
    position = await stack.succeed(org, old)
    await runtime.projectors["gateway_contents"].wait_for(position, 60)

    removal, now = ContentRemoval(runtime.log, runtime.pool, runtime.objects, runtime.clock), runtime.clock()
    assert org not in await removal.due(now)
    await removal.remove(now + LATER)
    assert not await runtime.objects.exists(org, own)
    assert not await runtime.objects.exists(org, manifest)
    assert await runtime.objects.exists(org, shared)

    async def removed() -> bool:
        return bool((await member.http.get(f"/v1/tasks/{old}")).json()["removed"])

    await eventually(removed, "the view has it")
    shown = (await member.http.get(f"/v1/tasks/{old}")).json()
    assert (shown["removed"], [*shown["kept_until"]]) == (["checkpoints", "output"], ["artifacts"])
    for path in ("output", "checkpoint"):
        answer = await member.http.get(f"/v1/tasks/{old}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (410, "content_not_kept")
    assert (await member.http.get(f"/v1/tasks/{old}/diff")).content == b"a patch"
    assert (await member.http.get(f"/v1/tasks/{running}/checkpoint")).is_success

    await runtime.projectors["gateway_contents"].wait_for(await runtime.log.last_position(), 60)
    assert await removal.remove(now + LATER) == 0
