"""Asking for a task's end."""

import asyncio

import pytest

from gateway_stack import Member, Stack
from remote_claude.eventsourcing.events import stream_id

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def recorded(stack: Stack, member: Member, task: str) -> list[str]:
    history = await stack.host.runtime.log.read_stream(stream_id("gateway", member.org, "task", task))
    return [event.type for event in history]


async def test_a_cancellation_is_recorded_once_however_often_it_is_asked_for(
    stack: Stack, member: Member
) -> None:
    task = await member.submit()
    answers = await asyncio.gather(*(member.http.post(f"/v1/tasks/{task}/cancel") for _ in range(10)))
    assert {answer.status_code for answer in answers} == {202}
    assert {answer.text for answer in answers} == {answers[0].text}
    body = answers[0].json()
    assert (body["id"], body["state"]) == (task, "queued")
    assert await recorded(stack, member, task) == ["TaskSubmitted", "TaskCancellationRequested"]


async def test_a_cancelled_task_can_be_cancelled_again(stack: Stack, member: Member) -> None:
    task = await member.submit()
    await member.http.post(f"/v1/tasks/{task}/cancel")
    position = await stack.cancelled(member.org, task)
    shown = (await member.http.get(f"/v1/tasks/{task}?min_position={position}")).json()
    assert shown["detail"] == "It was cancelled before it had started. `rclaude audit` shows by whom."
    answer = await member.http.post(f"/v1/tasks/{task}/cancel")
    assert (answer.status_code, answer.json()) == (
        202,
        {"id": task, "state": "cancelled", "position": position},
    )


@pytest.mark.parametrize("state", ["succeeded", "failed", "rejected"])
async def test_a_finished_task_cannot_be_cancelled(stack: Stack, member: Member, state: str) -> None:
    if state == "rejected":
        stack.rejecting[member.org] = "quota_exceeded", "spent"
        answer = await member.http.post("/v1/tasks", json={"prompt": "x", "agent": "shell"})
        task, position = answer.json()["id"], answer.json()["position"]
    else:
        task = await member.submit()
        await stack.start(member.org, task)
        await stack.finish(member.org, task)
        end = (
            stack.succeed(member.org, task)
            if state == "succeeded"
            else stack.fail(member.org, task, "agent_failed")
        )
        position = await end
    await member.http.get(f"/v1/tasks/{task}?min_position={position}")
    answer = await member.http.post(f"/v1/tasks/{task}/cancel")
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["state"]) == (409, "task_already_finished", state)
    assert await recorded(stack, member, task) == ["TaskSubmitted"]


async def test_a_colleague_may_cancel(stack: Stack, member: Member) -> None:
    task = await member.submit()
    colleague = await stack.member(member.org)
    assert (await colleague.http.post(f"/v1/tasks/{task}/cancel")).status_code == 202
    history = await stack.host.runtime.log.read_stream(stream_id("gateway", member.org, "task", task))
    assert history[-1].event.user == colleague.user
