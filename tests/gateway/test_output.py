"""Output by pages, from the stream while a task runs and from the sealed object afterwards; results as files."""

from pathlib import Path
from typing import Any

import pytest

from gateway_stack import Member, Stack, output
from remote_claude.contracts.runner import Result

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def everything(
    member: Member, task: str, limit: int, **query: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All frames, page by page, and the last page."""
    frames: list[dict[str, Any]] = []
    after = None
    while True:
        asked = {"limit": limit, **query} | ({"after": after} if after else {})
        answer = await member.http.get(f"/v1/tasks/{task}/output", params=asked)
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        assert len(page["frames"]) <= limit
        frames += page["frames"]
        after = page["next"]
        if not page["more"]:
            return frames, page


async def write(stack: Stack, member: Member, task: str, attempt: int, *chunks: list[dict[str, Any]]) -> None:
    writer = stack.host.runtime.output.writer(member.org, task, attempt)
    for chunk in chunks:
        await writer.write(chunk)


async def test_a_task_that_has_put_nothing_out_has_an_empty_page(member: Member) -> None:
    task = await member.submit()
    page = (await member.http.get(f"/v1/tasks/{task}/output")).json()
    assert (page["frames"], page["next"], page["more"], page["complete"]) == ([], "0.0", False, False)


async def test_the_output_of_a_running_task_comes_from_the_stream(stack: Stack, member: Member) -> None:
    task = await member.submit()
    position = await stack.start(member.org, task)
    writer = stack.host.runtime.output.writer(member.org, task, 1)
    for chunk in (output("a", "b"), output("c"), output("d", "e", "f")):
        await writer.write(chunk)
    frames, page = await everything(member, task, 2, min_position=position)
    assert [frame["text"] for frame in frames] == list("abcdef")
    assert [frame["cursor"] for frame in frames] == [f"1.{n}" for n in range(1, 7)]
    assert frames[0].keys() == {"cursor", "kind", "at", "stream", "text"}
    assert (page["next"], page["complete"]) == ("1.6", False)
    await writer.write(output("g"))
    page = (await member.http.get(f"/v1/tasks/{task}/output?after=1.6")).json()
    assert [frame["text"] for frame in page["frames"]] == ["g"]


@pytest.mark.parametrize("limit", [1, 100, 1000])
async def test_the_output_of_a_finished_task_comes_from_its_object(
    stack: Stack, member: Member, limit: int
) -> None:
    task, org = await member.submit(), member.org
    await stack.start(org, task)
    texts = [
        "plain",
        "two\nlines",
        "é\u2028☃",
        '"quoted"',
        "\x1b[31mred",
        "",
        *map(str, range(20 if limit == 1 else 2500)),
    ]
    await stack.finish(org, task, frames=output(*texts))
    position = await stack.succeed(org, task)
    frames, page = await everything(member, task, limit, min_position=position)
    assert [frame["text"] for frame in frames] == texts
    assert [frame["cursor"] for frame in frames] == [f"1.{n}" for n in range(1, len(texts) + 1)]
    assert (page["next"], page["complete"]) == (f"1.{len(texts)}", True)


async def test_attempts_follow_each_other_wherever_their_output_is(stack: Stack, member: Member) -> None:
    task, org = await member.submit(), member.org
    await stack.start(org, task)
    await write(stack, member, task, 1, output("lost 1"), output("lost 2"))
    await stack.lose(org, task)
    await stack.start(org, task, 2)
    await stack.finish(org, task, 2, frames=output("won 1", "won 2"))
    position = await stack.succeed(org, task, 2)
    for limit in (1, 3, 200):
        frames, page = await everything(member, task, limit, min_position=position)
        assert [(f["cursor"], f["text"]) for f in frames] == [
            ("1.1", "lost 1"), ("1.2", "lost 2"), ("2.1", "won 1"), ("2.2", "won 2"),
        ]  # fmt: skip
        assert page["complete"]
    page = (await member.http.get(f"/v1/tasks/{task}/output?after=1.2&limit=1")).json()
    assert [frame["cursor"] for frame in page["frames"]] == ["2.1"]


async def test_a_page_of_large_frames_is_cut_and_goes_on(stack: Stack, member: Member) -> None:
    task, org = await member.submit(), member.org
    await stack.start(org, task)
    await stack.finish(org, task, frames=output(*(str(n % 10) * 60_000 for n in range(150))))
    position = await stack.succeed(org, task)
    answer = await member.http.get(f"/v1/tasks/{task}/output?limit=1000&min_position={position}")
    assert len(answer.content) < 5_000_000
    assert answer.json()["more"]
    frames, _ = await everything(member, task, 1000)
    assert [frame["text"][0] for frame in frames] == [str(n % 10) for n in range(150)]


async def test_a_lost_object_is_made_up_for_by_the_stream(stack: Stack, member: Member) -> None:
    task, org = await member.submit(), member.org
    await stack.start(org, task)
    await write(stack, member, task, 1, output("a", "b"))
    await stack.finish(org, task, frames=output("a", "b"))
    position = await stack.succeed(org, task)
    sealed = (await member.http.get(f"/v1/tasks/{task}/events?min_position={position}")).json()
    [sha256] = [e["data"]["output"]["sha256"] for e in sealed["events"] if e["type"] == "AttemptFinished"]
    location = stack.host.runtime.settings.objects
    (Path(location) / org / sha256[:2] / sha256).unlink()
    frames, _ = await everything(member, task, 10)
    assert [frame["text"] for frame in frames] == ["a", "b"]


@pytest.mark.parametrize("after", ["x", "1", "-1.2", "1.2.3", "%00"])
async def test_a_cursor_that_is_none_is_refused(member: Member, after: str) -> None:
    task = await member.submit()
    answer = await member.http.get(f"/v1/tasks/{task}/output?after={after}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")


async def test_a_cursor_beyond_the_end_finds_nothing(stack: Stack, member: Member) -> None:
    task, org = await member.submit(), member.org
    await stack.start(org, task)
    await stack.finish(org, task, frames=output("a"))
    position = await stack.succeed(org, task)
    for after in ("1.1", "1.99", "7.1"):
        page = (
            await member.http.get(f"/v1/tasks/{task}/output?after={after}&min_position={position}")
        ).json()
        assert (page["frames"], page["next"], page["complete"]) == ([], after, True)


async def test_the_result_is_given_as_files(stack: Stack, member: Member) -> None:
    task, org = await member.submit(), member.org
    objects = stack.host.runtime.objects
    bundle, patch = b"bundle" * 500_000, b"diff --git a/x b/x\n"
    result = Result(commit="c", bundle=await objects.put(org, bundle), patch=await objects.put(org, patch))
    await stack.start(org, task)
    await stack.finish(org, task, result=result)
    position = await stack.succeed(org, task)
    answer = await member.http.get(f"/v1/tasks/{task}/bundle?min_position={position}")
    assert (answer.status_code, answer.content) == (200, bundle)
    assert answer.headers["etag"] == f'"{result.bundle}"'
    assert answer.headers["content-type"] == "application/x-git-bundle"
    answer = await member.http.get(f"/v1/tasks/{task}/diff")
    assert (answer.status_code, answer.content) == (200, patch)
    assert answer.headers["content-type"] == "text/x-diff; charset=utf-8"


async def test_a_task_without_a_result_says_why(stack: Stack, member: Member) -> None:
    task, org = await member.submit(), member.org
    details = []
    for step in (None, Result(base="b", sent="s"), "end"):
        if isinstance(step, Result):
            await stack.start(org, task)
            await stack.finish(org, task, result=step)
        elif step == "end":
            position = await stack.succeed(org, task)
            await member.http.get(f"/v1/tasks/{task}?min_position={position}")
        for path in ("bundle", "diff"):
            answer = await member.http.get(f"/v1/tasks/{task}/{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "no_result")
            details.append(answer.json()["detail"])
    assert "its result comes with its end" in details[0]
    assert "has changed nothing" in details[-1]
    failed = await member.submit()
    await stack.start(org, failed)
    await stack.finish(org, failed, outcome="failed", exit_code=1)
    position = await stack.fail(org, failed, "agent_failed")
    answer = await member.http.get(f"/v1/tasks/{failed}/diff?min_position={position}")
    assert "failed" in answer.json()["detail"]


async def test_a_result_that_is_not_in_the_store_says_so(stack: Stack, member: Member) -> None:
    task, org = await member.submit(), member.org
    await stack.start(org, task)
    await stack.finish(org, task, result=Result(bundle="0" * 64, patch="1" * 64))
    position = await stack.succeed(org, task)
    answer = await member.http.get(f"/v1/tasks/{task}/bundle?min_position={position}")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_result")


async def test_a_message_that_comes_as_the_agent_ends_is_answered_so(stack: Stack, member: Member) -> None:
    task = await member.submit()
    position = await stack.start(member.org, task)
    await member.http.get(f"/v1/tasks/{task}", params={"min_position": position})
    path = f"/v1/tasks/{task}/messages"
    assert (await member.http.post(path, json={"text": "in time"})).status_code == 202
    taken = {"kind": "user_message", "text": "in time"}
    await write(stack, member, task, 1, [taken, {"kind": "status", "phase": "committing"}])
    missed = await member.http.post(path, json={"text": "late"})
    assert (missed.status_code, missed.json()["code"]) == (409, "message_not_taken")
    assert f"rclaude resume {task}" in missed.json()["detail"]
