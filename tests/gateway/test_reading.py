"""Looking at tasks: pages, one task, its events; how fresh an answer is; and nobody else's tasks."""

import asyncio
from typing import Any

import pytest

from gateway_stack import RUNNER, Member, Stack, eventually, output
from remote_claude.contracts.runner import Cumulative, ModelUse, Result, TaskStarted

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNKNOWN = "task_00000000000000000000000000"


async def test_a_task_is_shown_as_far_as_it_is(stack: Stack, member: Member) -> None:
    task, org = await member.submit("first line\nsecond line", max_attempts=2), member.org
    shown = (await member.http.get(f"/v1/tasks/{task}")).json()
    assert (shown["state"], shown["attempt"], shown["attempts"]) == ("queued", 0, [])
    assert (shown["title"], shown["prompt"]) == ("first line", "first line\nsecond line")
    await stack.start(org, task)
    await stack.use(
        org,
        task,
        1,
        Cumulative(
            vcpu_ms=10, model_use=(ModelUse(provider="anthropic", model="opus", quantities={"input": 3}),)
        ),
    )
    await stack.lose(org, task)
    await stack.start(org, task, 2)
    await stack.use(org, task, 1, Cumulative(vcpu_ms=20, model_nano_usd=2**60), attempt=2)
    result = Result(base="b", sent="s", commit="c", bundle="0" * 64, patch="1" * 64)
    await stack.finish(org, task, 2, result=result, frames=output("a", "b"))
    position = await stack.succeed(org, task, 2)
    shown = (await member.http.get(f"/v1/tasks/{task}?min_position={position}")).json()
    assert (shown["state"], shown["reason"], shown["exit_code"]) == ("succeeded", None, 0)
    assert (shown["attempt"], shown["max_attempts"], shown["changed"]) == (2, 2, position)
    assert [(a["attempt"], a["outcome"]) for a in shown["attempts"]] == [(1, "lost"), (2, "succeeded")]
    assert shown["usage"]["vcpu_ms"] == 30
    assert shown["usage"]["model_nano_usd"] == str(2**60)
    assert [u["quantities"] for u in shown["usage"]["model_use"]] == [{"input": 3}]
    assert shown["result"] == result.model_dump()
    assert shown["output"] == {"frames": 2, "complete": True}
    assert shown["submitted_at"] < shown["started_at"] < shown["finished_at"]
    assert shown["as_of"] >= position


async def test_a_failure_has_its_reason_in_words(stack: Stack, member: Member) -> None:
    task, said = await member.submit("go"), "The model's service answered 529: Overloaded."
    await stack.start(member.org, task)
    await stack.finish(member.org, task, outcome="failed", reason="model_overloaded", detail=said)
    position = await stack.fail(member.org, task, "model_overloaded")
    shown = (await member.http.get(f"/v1/tasks/{task}?min_position={position}")).json()
    assert (shown["reason"], shown["detail"]) == ("model_overloaded", said)
    assert [a["detail"] for a in shown["attempts"]] == [said]
    events = (await member.http.get(f"/v1/tasks/{task}/events")).json()["events"]
    assert said not in str(events)


async def test_pages_hold_every_task_once_newest_first(member: Member) -> None:
    tasks = [await member.submit(str(n)) for n in range(7)]
    found: list[str] = []
    cursor: str | None = None
    while True:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await member.http.get("/v1/tasks", params=query)).json()
        found += [task["id"] for task in page["tasks"]]
        await member.submit("meanwhile")
        if (cursor := page["next"]) is None:
            break
    assert found == tasks[::-1]


async def test_pages_can_be_of_one_state(stack: Stack, member: Member) -> None:
    running, queued = await member.submit("a"), await member.submit("b")
    position = await stack.start(member.org, running)
    for state, expected in [("running", [running]), ("queued", [queued]), ("failed", [])]:
        page = (await member.http.get(f"/v1/tasks?state={state}&min_position={position}")).json()
        assert [task["id"] for task in page["tasks"]] == expected
        assert page["as_of"] >= position


async def test_a_list_is_narrowed_by_states_agent_words_and_labels(stack: Stack, member: Member) -> None:
    fix = await member.submit("Fix the parser", labels={"team": "core"})
    docs = await member.submit("Write the DOCS", labels={"team": "web", "urgent": "yes"})
    done = await member.submit("parser again", agent="noop")
    await stack.start(member.org, done)
    position = await stack.succeed(member.org, done)

    async def found(query: str) -> list[str]:
        page = (await member.http.get(f"/v1/tasks?min_position={position}&{query}")).json()
        return [task["id"] for task in page["tasks"]]

    assert await found("state=queued&state=succeeded") == [done, docs, fix]
    assert await found("state=queued&state=running") == [docs, fix]
    assert await found("agent=noop") == [done]
    assert await found(f"submitted_by={member.user}&agent=shell") == [docs, fix]
    assert await found("submitted_by=user_other") == []
    assert await found("q=PARSER") == [done, fix]
    assert await found("q=fix%20parser") == [fix]
    assert await found(f"q={docs[-8:]}") == [docs]
    assert await found("q=core") == [fix]
    assert await found("label=team") == [docs, fix]
    assert await found("label=team:web&label=urgent") == [docs]
    assert await found("q=parser&state=succeeded") == [done]


async def test_a_search_goes_on_where_its_page_ended(member: Member) -> None:
    tasks = [await member.submit(f"{'odd' if n % 2 else 'even'} {n}") for n in range(6)]
    found: list[str] = []
    query = {"q": "odd", "limit": "2"}
    while True:
        page = (await member.http.get("/v1/tasks", params=query)).json()
        found += [task["id"] for task in page["tasks"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert found == tasks[::-1][::2]


async def test_agents_are_listed_with_whether_a_runner_offers_them(member: Member) -> None:
    page = (await member.http.get("/v1/agents")).json()
    names = ("claude", "codex", "gemini", "noop", "opencode", "shell")
    assert page["agents"] == [{"name": name, "offered": False, "needs_model_key": False} for name in names]
    assert (page["providers"], page["capabilities"]) == ([], [])


async def test_an_organisation_without_tasks_has_an_empty_page(member: Member) -> None:
    page = (await member.http.get("/v1/tasks")).json()
    assert (page["tasks"], page["next"]) == ([], None)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "invalid_request"),
        ("limit=201", "invalid_request"),
        ("limit=x", "invalid_request"),
        ("state=done", "invalid_request"),
        ("min_position=-1", "invalid_request"),
        ("min_position=99999999999999999999", "invalid_request"),
        ("cursor=", "invalid_cursor"),
        ("cursor=%00", "invalid_cursor"),
        ("cursor=abc", "invalid_cursor"),
        ("cursor=MTIzNDU", "invalid_cursor"),
        ("cursor=LTEvdGFza18x", "invalid_cursor"),
        ("cursor=%C3%A9", "invalid_cursor"),
        ("cursor=" + "x" * 500, "invalid_request"),
    ],
)
async def test_a_page_that_cannot_be_meant_is_refused(member: Member, query: str, code: str) -> None:
    answer = await member.http.get(f"/v1/tasks?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, code)


async def test_the_events_of_a_task_are_those_of_all_services_in_order(stack: Stack, member: Member) -> None:
    task, org = await member.submit(repo={"url": "https://token@host/a"}, labels={"a": "b"}), member.org
    await stack.start(org, task)
    await stack.use(org, task, 1, Cumulative(vcpu_ms=10))
    await stack.finish(org, task)
    position = await stack.succeed(org, task)
    page = (await member.http.get(f"/v1/tasks/{task}/events?min_position={position}")).json()
    assert [event["type"] for event in page["events"]] == [
        "TaskSubmitted", "TaskAdmitted", "TaskAssigned", "TaskStarted", "UsageRecorded", "AttemptFinished",
        "TaskSucceeded",
    ]  # fmt: skip
    positions = [event["position"] for event in page["events"]]
    assert positions == sorted(positions)
    assert (positions[-1], page["next"]) == (position, None)
    submitted = page["events"][0]
    assert submitted.keys() == {"position", "id", "type", "version", "time", "data"}
    assert submitted["data"]["user"] == member.user
    assert submitted["data"]["repository"] == {"kind": "remote", "ref": None}
    assert "prompt" not in submitted["data"]
    assert "labels" not in submitted["data"]
    assert page["events"][4]["data"]["cumulative"]["vcpu_ms"] == 10


async def test_the_events_of_a_task_come_in_pages(stack: Stack, member: Member) -> None:
    task = await member.submit()
    position = await stack.start(member.org, task)
    types: list[str] = []
    after = 0
    while after is not None:
        page = (
            await member.http.get(f"/v1/tasks/{task}/events?limit=2&after={after}&min_position={position}")
        ).json()
        assert len(page["events"]) <= 2
        types += [event["type"] for event in page["events"]]
        after = page["next"]
    assert types == ["TaskSubmitted", "TaskAdmitted", "TaskAssigned", "TaskStarted"]


async def test_what_was_just_answered_is_read_without_a_position(member: Member) -> None:
    for n in range(20):
        task = await member.submit(str(n))
        shown = await member.http.get(f"/v1/tasks/{task}")
        assert (shown.status_code, shown.json()["state"]) == (200, "queued")


async def test_a_position_that_does_not_come_is_answered_in_time(stack: Stack, member: Member) -> None:
    task = await member.submit()
    far = stack.host.runtime.tail.position + 1000
    answer = await member.http.get(f"/v1/tasks/{task}?min_position={far}")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (503, "not_caught_up")
    assert answer.headers["retry-after"] == "1"
    assert problem["as_of"] < far


async def test_a_position_on_its_way_is_waited_for(stack: Stack, member: Member) -> None:
    task = await member.submit()
    runtime = stack.host.runtime
    expected = runtime.tail.position + 1
    waiting = asyncio.create_task(member.http.get(f"/v1/tasks/{task}?min_position={expected}"))
    position = await stack.assign(member.org, task)
    answer = (await waiting).json()
    assert answer["as_of"] >= expected
    assert answer["state"] == "assigned" or position > expected


def endpoints(task: str) -> list[tuple[str, str]]:
    path = f"/v1/tasks/{task}"
    return [
        ("GET", path),
        ("GET", f"{path}/events"),
        ("GET", f"{path}/output"),
        ("GET", f"{path}/bundle"),
        ("GET", f"{path}/diff"),
        ("POST", f"{path}/cancel"),
    ]


def anonymous(problem: dict[str, Any], task: str) -> dict[str, Any]:
    return problem | {"detail": problem["detail"].replace(task, "TASK")}


async def test_anothers_task_is_as_unknown_as_one_that_never_was(stack: Stack, member: Member) -> None:
    task, org = await member.submit(), member.org
    await stack.start(org, task)
    result = Result(
        bundle=await stack.host.runtime.objects.put(org, b"b"),
        patch=await stack.host.runtime.objects.put(org, b"p"),
    )
    await stack.finish(org, task, result=result, frames=output("secret"))
    position = await stack.succeed(org, task)
    stranger = await stack.member()
    for (method, theirs), (_, unknown) in zip(endpoints(task), endpoints(UNKNOWN), strict=True):
        query = {"min_position": position} if method == "GET" else {}
        answer = await stranger.http.request(method, theirs, params=query)
        absent = await stranger.http.request(method, unknown, params=query)
        assert answer.status_code == absent.status_code == 404, theirs
        assert anonymous(answer.json(), task) == anonymous(absent.json(), UNKNOWN)
        assert answer.json()["code"] == "task_not_found"
    assert (await stranger.http.get("/v1/tasks")).json()["tasks"] == []
    before = await stack.host.runtime.log.read_stream(f"ev.gateway.{stranger.org}.task.{task}")
    assert before == []


@pytest.mark.parametrize(
    "task",
    ["x", "task_", "task_ILOU", "org_00000000000000000000000000", "task_0%2F..", "%00", "task_*", "ta.sk"],
)
async def test_what_cannot_be_an_id_is_unknown(member: Member, task: str) -> None:
    for method, path in endpoints(task):
        answer = await member.http.request(method, path)
        assert answer.status_code == 404, path
        assert answer.json()["code"] in ("task_not_found", "not_found")


async def test_an_unknown_path_is_a_problem_document(member: Member) -> None:
    answer = await member.http.get("/v1/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    answer = await member.http.delete("/v1/tasks")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


async def test_a_view_that_is_not_built_yet_is_said_to_be_asked_again(stack: Stack, member: Member) -> None:
    async with stack.host.runtime.pool.connection() as connection:
        for now, then in (("submission", "not_built"), ("submission.org", "earlier")):
            table, _, column = now.partition(".")
            renamed = f"COLUMN {column} TO {then}" if column else f"TO {then}"
            await connection.execute(f"ALTER TABLE gateway_tasks.{table} RENAME {renamed}".encode())
            await connection.commit()
            try:
                answer = await member.http.get("/v1/tasks?agent=shell")
            finally:
                back = (
                    f"gateway_tasks.{table} RENAME COLUMN {then} TO {column}"
                    if column
                    else f"gateway_tasks.{then} RENAME TO {table}"
                )
                await connection.execute(f"ALTER TABLE {back}".encode())
                await connection.commit()
            assert (answer.status_code, answer.json()["code"]) == (503, "view_building")
            assert answer.headers["retry-after"] == "5"


async def test_a_wait_is_answered_with_the_next_change_and_with_the_end(stack: Stack, member: Member) -> None:
    task, org = await member.submit("go", labels={"a": "b"}), member.org
    shown = (await member.http.get(f"/v1/tasks/{task}")).json()
    at_the_end = asyncio.create_task(member.http.get(f"/v1/tasks/{task}?wait=30"))
    changed = asyncio.create_task(member.http.get(f"/v1/tasks/{task}?wait=30&changed={shown['changed']}"))
    position = await stack.assign(org, task)
    answer = (await changed).json()
    assert (answer["state"], answer["changed"]) == ("assigned", position)
    at_once = (await member.http.get(f"/v1/tasks/{task}?wait=30&changed={shown['changed']}")).json()
    assert at_once == answer
    await stack.run(TaskStarted(task=task, org=org, attempt=1, runner=RUNNER))
    await stack.finish(org, task)
    position = await stack.succeed(org, task)
    ended = (await at_the_end).json()
    assert (ended["state"], ended["changed"]) == ("succeeded", position)
    [listed] = (await member.http.get(f"/v1/tasks?min_position={position}")).json()["tasks"]
    assert listed == {name: ended[name] for name in listed}, "what is folded here is what the view says"


async def test_a_submission_that_waits_is_answered_with_the_end(stack: Stack, member: Member) -> None:
    submitting = asyncio.create_task(
        member.http.post("/v1/tasks?wait=30", json={"prompt": "go", "agent": "shell"})
    )

    async def submitted() -> Any:
        return (await member.http.get("/v1/tasks")).json()["tasks"]

    [queued] = await eventually(submitted, "the task is there")
    await stack.start(member.org, queued["id"])
    await stack.finish(member.org, queued["id"], outcome="failed", exit_code=3)
    await stack.fail(member.org, queued["id"], "agent_failed")
    answer = await submitting
    assert answer.status_code == 201
    ended = (await member.http.get(f"/v1/tasks/{queued['id']}")).json()
    shown = answer.json()
    assert (shown["id"], shown["state"], shown["task"]["exit_code"]) == (queued["id"], "failed", 1)
    assert shown["position"] == ended["changed"]


async def test_a_wait_is_bounded_and_ends_with_its_client(stack: Stack, member: Member) -> None:
    task = await member.submit()
    assert (await member.http.get(f"/v1/tasks/{task}?wait=61")).status_code == 422
    assert (await member.http.get(f"/v1/tasks/{task}?wait=1")).json()["state"] == "queued"

    async def waits(number: int) -> bool:
        status = (await member.http.get("/v1/status")).json()["services"]["gateway"]
        return bool(status["waits"] == number)

    waiting = asyncio.create_task(member.http.get(f"/v1/tasks/{task}?wait=60"))
    await eventually(lambda: waits(1), "it waits")
    waiting.cancel()
    await eventually(lambda: waits(0), "nobody waits any more")
