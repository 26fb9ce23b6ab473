"""Submitting a task over HTTP: what is taken, what is refused and how, and what a repeated key gets."""


import pytest

from gateway_stack import Member, Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_admitted_task_is_answered_with_its_decision(stack: Stack, member: Member) -> None:
    answer = await member.http.post("/v1/tasks", json={"prompt": "fix it", "agent": "shell"})
    assert answer.status_code == 201
    body = answer.json()
    assert body.keys() == {"id", "state", "position"}
    assert body["state"] == "queued"
    shown = (await member.http.get(f"/v1/tasks/{body['id']}?min_position={body['position']}")).json()
    assert shown["state"] == "queued"
    assert shown["prompt"] == "fix it"
    assert shown["as_of"] >= body["position"]
