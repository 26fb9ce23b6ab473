"""Links for reading: what they open, to whom, and until when."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from gateway_stack import Member, Stack, output
from remote_claude.access import credential_secrets
from remote_claude.contracts import Event
from remote_claude.contracts.gateway import TaskShared, TaskUnshared
from remote_claude.gateway.domain import shares
from remote_claude.gateway.domain.refusals import ShareNotFound
from remote_claude.gateway.domain.shares import RevokeShare, ShareTask

SHARED = TaskShared(
    share="share_1",
    org="org_1",
    task="task_1",
    user="user_1",
    secret_hash="ab",
    expires_at="2026-12-01T00:00:00Z",
)
UNSHARED = TaskUnshared(share="share_1", org="org_1", task="task_1", user="user_2")
REVOKE = RevokeShare(task="task_1", user="user_2")


def when(command: shares.Command, *given: Event) -> list[Event]:
    state = shares.initial_state
    for event in given:
        state = shares.evolve(state, event)
    return shares.decide(command, state)


def test_a_link_is_made_and_revoked_once() -> None:
    assert when(ShareTask(SHARED)) == [SHARED]
    assert when(ShareTask(SHARED), SHARED) == []
    assert when(REVOKE, SHARED) == [UNSHARED]
    assert when(REVOKE, SHARED, UNSHARED) == []


@pytest.mark.parametrize("given", [(), (SHARED,)])
def test_only_a_link_of_the_task_is_revoked(given: tuple[Event, ...]) -> None:
    with pytest.raises(ShareNotFound):
        when(RevokeShare(task="task_2" if given else "task_1", user="user_2"), *given)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_link_opens_its_task_to_anyone_and_nothing_else(stack: Stack, member: Member) -> None:
    task, other = await member.submit(prompt="mend it"), await member.submit()
    await stack.start(member.org, task)
    await stack.host.runtime.output.writer(member.org, task, 1).write(output("a", "b"))
    made = (await member.http.post(f"/v1/tasks/{task}/shares", json={"days": 1})).json()
    path, secret = made["path"].split("#")
    share = path.removeprefix("/shared/")

    async def fetched(path: str, **headers: str) -> Any:
        async with httpx2.AsyncClient(base_url=stack.url, headers=headers) as anyone:
            return await anyone.get(path)

    async def read(below: str = "", by: str = secret, of: str = share) -> Any:
        return await fetched(f"/v1/shared/{of}{below}", **{"Rclaude-Share": by})

    shown = (await read()).json()
    assert (shown["id"], shown["prompt"], shown["expires_at"]) == (task, "mend it", made["expires_at"])
    assert shown.keys().isdisjoint({"submitted_by", "org", "usage", "attempts", "repo", "labels"})
    assert [frame["text"] for frame in (await read("/output")).json()["frames"]] == ["a", "b"]
    assert (await read("/diff")).json()["code"] == "no_result"
    # the link is no credential for anything else, and another secret opens nothing
    assert (await fetched(f"/v1/tasks/{task}", Authorization=f"Bearer {secret}")).status_code == 401
    for refused in (
        await read(by=""),
        await read(by=credential_secrets.generate(credential_secrets.SHARE)),
        await read(of="share_00000000000000000000000000"),
    ):
        assert (refused.status_code, refused.json()["code"]) == (404, "share_not_found")

    stranger = await stack.member()
    for foreign in (f"/v1/tasks/{task}/shares", f"/v1/tasks/{task}/shares/{share}"):
        answer = await stranger.http.request("GET" if foreign.endswith("shares") else "DELETE", foreign)
        assert answer.status_code == 404
    assert (await member.http.delete(f"/v1/tasks/{other}/shares/{share}")).status_code == 404
    listed = (await member.http.get(f"/v1/tasks/{task}/shares")).json()["shares"]
    assert [one["id"] for one in listed] == [share]
    assert secret not in str(listed)
    assert (await member.http.delete(f"/v1/tasks/{task}/shares/{share}")).status_code == 204
    assert (await read()).status_code == 404
    assert (await member.http.get(f"/v1/tasks/{task}/shares")).json()["shares"] == []
