"""Submitting a task over HTTP: what is taken, what is refused and how, and what a repeated key gets."""

import asyncio
import hashlib
import json
from typing import Any

import pytest

from event_examples import runner_joined
from gateway_stack import Member, Stack
from remote_claude.access.vault import stream_of
from remote_claude.contracts.contexts import (
    labels_context,
    prompt_context,
    repository_url_context,
    secret_context,
)
from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.contracts.runner import RunnerDrained
from remote_claude.contracts.users import SecretStored
from remote_claude.eventsourcing.events import stream_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

TASK: dict[str, Any] = {"prompt": "fix it", "agent": "shell"}


async def refused(member: Member, status: int, code: str, body: Any = None, **more: Any) -> dict[str, Any]:
    answer = await member.http.post("/v1/tasks", **({"json": body} if body is not None else {}), **more)
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["detail"]
    return problem


async def test_an_admitted_task_is_answered_with_its_decision(member: Member) -> None:
    answer = await member.http.post("/v1/tasks", json=TASK)
    assert answer.status_code == 201
    body = answer.json()
    assert body.keys() == {"id", "state", "position"}
    assert body["state"] == "queued"
    shown = (await member.http.get(f"/v1/tasks/{body['id']}?min_position={body['position']}")).json()
    assert (shown["state"], shown["prompt"]) == ("queued", "fix it")
    assert shown["as_of"] >= body["position"]


async def test_texts_are_in_the_log_as_ciphertext_only(stack: Stack, member: Member) -> None:
    secret = "very secret words"
    repo = {"url": f"https://host/a/{secret.replace(' ', '-')}", "ref": "main"}
    task = await member.submit(secret, repo=repo, labels={"team": secret})
    [submitted] = await stack.host.runtime.log.read_stream(stream_id("gateway", member.org, "task", task))
    assert b"very" not in submitted.data
    key = await stack.host.runtime.keyring.get(member.org)
    event = submitted.event
    assert key.open(event.prompt, prompt_context(task)) == secret
    assert key.open(event.repository.url, repository_url_context(task)) == repo["url"]
    assert json.loads(key.open(event.labels, labels_context(task))) == {"team": secret}
    assert (submitted.subject, submitted.correlation_id) == (task, task)


async def test_everything_that_was_asked_is_shown(member: Member) -> None:
    asked: dict[str, Any] = {
        "max_attempts": 5, "timeout_s": 90, "priority": -7, "labels": {"team": "core", "empty": ""},
        "repo": {"url": "https://host/a/b", "ref": "feature/x"},
    }  # fmt: skip
    shown = (await member.http.get(f"/v1/tasks/{await member.submit(**asked)}")).json()
    assert {name: shown[name] for name in ("max_attempts", "timeout_s", "priority", "labels")} == {
        name: asked[name] for name in ("max_attempts", "timeout_s", "priority", "labels")
    }
    assert shown["repo"] == {"url": "https://host/a/b", "ref": "feature/x", "bundle": None}
    assert shown["submitted_by"] == member.user


async def test_a_rejected_task_is_answered_with_the_schedulers_code(stack: Stack, member: Member) -> None:
    stack.rejecting[member.org] = "quota_exceeded", "100 of 100 executions are used."
    problem = await refused(member, 402, "quota_exceeded", TASK)
    assert problem["detail"] == "100 of 100 executions are used."
    shown = (await member.http.get(f"/v1/tasks/{problem['id']}?min_position={problem['position']}")).json()
    assert (shown["state"], shown["reason"], shown["detail"]) == (
        "rejected",
        "quota_exceeded",
        problem["detail"],
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"agent": "shell"}, "prompt"),
        ({"prompt": "x"}, "agent"),
        ({**TASK, "prompt": ""}, "prompt"),
        ({**TASK, "prompt": " \n\t"}, "prompt"),
        ({**TASK, "prompt": "a\0b"}, "prompt"),
        ({**TASK, "prompt": 7}, "prompt"),
        ({**TASK, "agent": ""}, "agent"),
        ({**TASK, "max_attempts": 0}, "max_attempts"),
        ({**TASK, "max_attempts": 11}, "max_attempts"),
        ({**TASK, "max_attempts": "3"}, "max_attempts"),
        ({**TASK, "max_attempts": True}, "max_attempts"),
        ({**TASK, "timeout_s": 0}, "timeout_s"),
        ({**TASK, "timeout_s": 86401}, "timeout_s"),
        ({**TASK, "timeout_s": 1.5}, "timeout_s"),
        ({**TASK, "priority": -101}, "priority"),
        ({**TASK, "priority": 101}, "priority"),
        ({**TASK, "labels": {str(n): "" for n in range(33)}}, "labels"),
        ({**TASK, "labels": {"k": "v" * 257}}, "labels.k"),
        ({**TASK, "labels": {"k": "a\nb"}}, "labels.k"),
        ({**TASK, "labels": ["a"]}, "labels"),
        ({**TASK, "max_attemps": 3}, "max_attemps"),
        ({**TASK, "repo": {}}, "repo"),
        ({**TASK, "repo": "https://host/a/b"}, "repo"),
        ({**TASK, "repo": {"url": "https://host/a/b", "bundle": "0" * 64}}, "repo"),
        ({**TASK, "repo": {"bundle": "0" * 64, "ref": "main"}}, "repo"),
        ({**TASK, "repo": {"bundle": "XYZ"}}, "repo.bundle"),
        ({**TASK, "repo": {"url": "https://host/a/b", "ref": "--upload-pack=x"}}, "repo.ref"),
        ({**TASK, "repo": {"url": "https://host/a/b", "ref": "a..b"}}, "repo.ref"),
        ({**TASK, "repo": {"url": "https://host/a/\nb"}}, "repo.url"),
        ([], ""),
        ("text", ""),
    ],
)
async def test_what_is_not_valid_is_refused_by_field(member: Member, body: Any, field: str) -> None:
    problem = await refused(member, 422, "invalid_request", body)
    assert field in [error["field"] for error in problem["errors"]]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"prompt": "\xff\xfe", "agent": "shell"}',
        b'{"prompt": "\\ud800", "agent": "shell"}',
        b'{"prompt": "\\udc00 \\ud800", "agent": "shell"}',
        b"\xff\xff\xff",
        b"[" * 100_000,
    ],
    ids=["empty", "cut", "broken UTF-8", "lone surrogate", "swapped surrogates", "binary", "deep"],
)
async def test_a_body_that_is_no_json_text_is_refused(member: Member, body: bytes) -> None:
    await refused(member, 422, "invalid_request", content=body)


async def test_a_prompt_may_have_64_kib_and_not_a_byte_more(member: Member) -> None:
    assert await member.submit("é" * 32 * 1024)
    problem = await refused(member, 413, "prompt_too_large", {**TASK, "prompt": "é" * 32 * 1024 + "x"})
    assert "65537" in problem["detail"]


async def test_a_prompt_of_64_kib_may_be_escaped_in_full(member: Member) -> None:
    body = b'{"agent": "shell", "prompt": "%b"}' % (b"\\u0041" * 64 * 1024)
    assert (await member.http.post("/v1/tasks", content=body)).status_code == 201


async def test_a_prompt_of_10_mb_is_refused(member: Member) -> None:
    await refused(member, 413, "body_too_large", {**TASK, "prompt": "x" * 10_000_000})


async def test_a_body_of_10_mb_without_a_length_is_refused(member: Member) -> None:
    async def pieces() -> Any:
        for _ in range(160):
            yield b" " * 65536

    await refused(member, 413, "body_too_large", content=pieces())


async def test_an_agent_that_nobody_knows_is_refused(member: Member) -> None:
    problem = await refused(member, 422, "unknown_agent", {**TASK, "agent": "gpt-9"})
    assert {"claude", "shell", "noop"} <= set(problem["known"])


async def test_an_agent_that_no_runner_offers_is_refused(stack: Stack, member: Member) -> None:
    stream = stream_id("runner", None, "runner", "runner_a")
    offer = runner_joined("runner_a")
    position = await stack.say(offer, stream)
    try:
        await stack.host.runtime.tail.wait_for(position, 10)
        problem = await refused(member, 422, "agent_unavailable", {**TASK, "agent": "claude"})
        assert "ANTHROPIC_API_KEY" in problem["detail"]
        assert problem["offered"] == ["shell"]
    finally:
        await stack.say(RunnerDrained(runner="runner_a"), stream)


async def test_a_path_on_the_servers_disk_is_refused(member: Member) -> None:
    for url in ("/etc", "file:///etc", "../x", "ext::sh -c id"):
        problem = await refused(member, 422, "repository_url_refused", {**TASK, "repo": {"url": url}})
        assert "bundle" in problem["detail"]


async def test_a_password_in_a_url_is_neither_stored_nor_shown(stack: Stack, member: Member) -> None:
    end = stack.host.runtime.tail.position
    for repo in (
        {"url": "https://me:made-up-secret@host/owner/name.git"},
        {"bundle": "0" * 64, "origin": "https://me:made-up-secret@host/owner/name.git"},
    ):
        problem = await refused(member, 422, "repository_url_refused", {**TASK, "repo": repo})
        assert "made-up-secret" not in str(problem)
    assert stack.host.runtime.tail.position == end


async def test_a_label_shows_what_it_is(member: Member) -> None:
    for labels in ({"team\u202e": "a"}, {"team": "a\u202eb"}, {"team": "a\x1b[31m"}):
        await refused(member, 422, "invalid_request", {**TASK, "labels": labels})


async def test_a_bundle_has_to_be_uploaded_before(stack: Stack, member: Member) -> None:
    content = b"a bundle"
    sha256 = hashlib.sha256(content).hexdigest()
    other = await stack.member()
    assert (await other.http.put(f"/v1/blobs/{sha256}", content=content)).status_code == 201
    problem = await refused(member, 422, "bundle_not_found", {**TASK, "repo": {"bundle": sha256}})
    assert sha256 in problem["detail"]
    assert (await member.http.put(f"/v1/blobs/{sha256}", content=content)).status_code == 201
    task = await member.submit(repo={"bundle": sha256})
    shown = (await member.http.get(f"/v1/tasks/{task}")).json()
    assert shown["repo"] == {"url": None, "ref": None, "bundle": sha256}


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic abc", "Bearer rck_nope"])
async def test_a_request_without_a_good_key_is_refused(member: Member, header: Any) -> None:
    for method, path in [("POST", "/v1/tasks"), ("GET", "/v1/tasks"), ("PUT", f"/v1/blobs/{'0' * 64}")]:
        request = member.http.build_request(method, path, content=b"{")
        del request.headers["authorization"]
        if header is not None:
            request.headers["authorization"] = header
        answer = await member.http.send(request)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_without_a_decision_in_time_the_task_stands(stack: Stack, member: Member) -> None:
    stack.admitting = False
    key = {"Idempotency-Key": "later"}
    try:
        answer = await member.http.post("/v1/tasks", json=TASK, headers=key)
        again = await member.http.post("/v1/tasks", json=TASK, headers=key)
    finally:
        stack.admitting = True
    assert answer.status_code == again.status_code == 202
    body = answer.json()
    assert body == again.json()
    assert body["state"] == "submitted"
    shown = (await member.http.get(f"/v1/tasks/{body['id']}?min_position={body['position']}")).json()
    assert shown["state"] == "submitted"


async def test_the_same_key_and_body_get_the_same_answer(stack: Stack, member: Member) -> None:
    key = {"Idempotency-Key": "k-1"}
    first = await member.http.post("/v1/tasks", json=TASK, headers=key)
    task = first.json()["id"]
    await stack.start(member.org, task)
    second = await member.http.post("/v1/tasks", json={**TASK, "max_attempts": 3}, headers=key)
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert (await member.http.get(f"/v1/tasks/{task}")).json()["state"] == "running"


async def test_the_same_key_gets_the_same_refusal(stack: Stack, member: Member) -> None:
    stack.rejecting[member.org] = "quota_exceeded", "spent"
    key = {"Idempotency-Key": "k-1"}
    first = await refused(member, 402, "quota_exceeded", TASK, headers=key)
    del stack.rejecting[member.org]
    assert await refused(member, 402, "quota_exceeded", TASK, headers=key) == first


async def test_another_body_under_the_same_key_is_refused(member: Member) -> None:
    key = {"Idempotency-Key": "k-1"}
    task = (await member.http.post("/v1/tasks", json=TASK, headers=key)).json()["id"]
    for change in (
        {"prompt": "another"},
        {"priority": 1},
        {"labels": {"a": "b"}},
        {"repo": {"url": "https://h/a"}},
    ):
        problem = await refused(member, 409, "idempotency_key_reused", {**TASK, **change}, headers=key)
        assert problem["id"] == task


async def test_a_key_belongs_to_its_person_and_organisation(stack: Stack, member: Member) -> None:
    key = {"Idempotency-Key": "k-1"}
    colleague, stranger = await stack.member(member.org), await stack.member()
    answers = [await m.http.post("/v1/tasks", json=TASK, headers=key) for m in (member, colleague, stranger)]
    assert [a.status_code for a in answers] == [201, 201, 201]
    assert len({a.json()["id"] for a in answers}) == 3


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "tab\there"])
async def test_a_key_that_is_none_is_refused(member: Member, key: str) -> None:
    await refused(member, 422, "invalid_idempotency_key", TASK, headers={"Idempotency-Key": key})


async def test_twenty_at_once_with_one_key_are_one_task(stack: Stack, member: Member) -> None:
    key = {"Idempotency-Key": "stampede"}
    answers = await asyncio.gather(
        *(member.http.post("/v1/tasks", json=TASK, headers=key) for _ in range(20))
    )
    assert {a.status_code for a in answers} == {201}
    [body] = {a.text for a in answers}
    page = (await member.http.get(f"/v1/tasks?min_position={json.loads(body)['position']}")).json()
    assert [task["id"] for task in page["tasks"]] == [json.loads(body)["id"]]


async def test_an_agent_that_has_gone_meanwhile_does_not_change_an_answer(
    stack: Stack, member: Member
) -> None:
    key = {"Idempotency-Key": "k-1"}
    body = {**TASK, "agent": "claude"}
    first = await member.http.post("/v1/tasks", json=body, headers=key)
    stream = stream_id("runner", None, "runner", "runner_b")
    offer = runner_joined("runner_b")
    await stack.host.runtime.tail.wait_for(await stack.say(offer, stream), 10)
    try:
        second = await member.http.post("/v1/tasks", json=body, headers=key)
        assert (first.status_code, first.json()) == (second.status_code, second.json())
    finally:
        await stack.say(RunnerDrained(runner="runner_b"), stream)


async def test_an_erased_organisation_can_submit_nothing_and_its_texts_are_gone(
    stack: Stack, member: Member
) -> None:
    task = await member.submit(labels={"a": "b"}, repo={"url": "https://host/a"})
    await stack.host.runtime.keyring.erase(member.org)
    await refused(member, 410, "key_erased", TASK)
    shown = (await member.http.get(f"/v1/tasks/{task}")).json()
    assert (shown["prompt"], shown["title"], shown["labels"]) == (None, None, {})
    assert shown["repo"] == {"url": None, "ref": None, "bundle": None}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "claude-opus-4"),
        ("image", "python:3.12"),
        ("network", "none"),
        ("secrets", ["NPM_TOKEN"]),
        ("budget_nano_usd", 5_000_000_000),
    ],
)
async def test_what_no_runner_can_fulfil_is_refused(member: Member, field: str, value: Any) -> None:
    problem = await refused(member, 422, "not_offered", {**TASK, field: value})
    assert field.startswith(problem["field"])
    assert "No runner offers" in problem["detail"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"secrets": ["not a name"]},
        {"budget_nano_usd": 0},
        {"budget_nano_usd": 1.5},
        {"best_of": {"group": "g", "index": 5, "size": 4}},
        {"repo": {"url": "https://host/a/b", "origin": "https://host/a/b"}},
    ],
)
async def test_a_field_of_a_wrong_shape_is_refused(member: Member, wrong: dict[str, Any]) -> None:
    await refused(member, 422, "invalid_request", {**TASK, **wrong})


async def test_what_a_runner_is_capable_of_is_recorded(stack: Stack, member: Member) -> None:
    stream = stream_id("runner", None, "runner", "runner_c")
    able = runner_joined("runner_c", provider="docker", capabilities=("image", "secrets"))
    await stack.host.runtime.tail.wait_for(await stack.say(able, stream), 10)
    key = await stack.host.runtime.keyring.get(member.org)
    stored = SecretStored(
        org=member.org,
        secret_name="NPM_TOKEN",
        value=key.seal("made-up", secret_context(member.org, None, "NPM_TOKEN")),
        hosts=("registry.example",),
        by=member.user,
    )
    await stack.say(stored, stream_of(member.org))
    try:
        task = await member.submit(image="python:3.12", secrets=["NPM_TOKEN"], provider="docker")
        problem = await refused(member, 422, "not_offered", {**TASK, "provider": "ecs"})
        assert (problem["field"], "docker" in problem["detail"]) == ("provider", True)
    finally:
        await stack.say(RunnerDrained(runner="runner_c"), stream)
    event = await recorded_submission(stack, member, task)
    assert (event.image, event.secrets, event.provider) == ("python:3.12", ("NPM_TOKEN",), "docker")


async def test_costs_can_be_grouped_without_opening_a_text(stack: Stack, member: Member) -> None:
    submissions = [
        await recorded_submission(
            stack, member, await member.submit(labels={"team": team}, repo={"url": url})
        )
        for team, url in (
            ("core", "https://git.example/o/r.git"),
            ("core", "git@GIT.example:o/r"),
            ("web", "https://git.example/o/other"),
        )
    ]
    same, also, other = submissions
    assert same.label_hashes == also.label_hashes != other.label_hashes
    assert same.label_hashes.keys() == other.label_hashes.keys()
    assert same.repository_hash == also.repository_hash != other.repository_hash
    stranger = await stack.member()
    theirs = await recorded_submission(stack, stranger, await stranger.submit(labels={"team": "core"}))
    assert theirs.label_hashes.keys().isdisjoint(same.label_hashes)


async def test_a_finished_task_can_be_continued_and_no_other(stack: Stack, member: Member) -> None:
    first = await member.submit()
    problem = await refused(member, 409, "task_not_finished", {**TASK, "continues": first})
    assert problem["state"] == "queued"
    await stack.host.runtime.tail.wait_for(await stack.cancelled(member.org, first), 10)
    second = await member.submit(continues=first)
    assert (await recorded_submission(stack, member, second)).continues == first
    await refused(await stack.member(), 404, "task_not_found", {**TASK, "continues": first})


async def test_a_task_that_waits_while_no_scheduler_answers_says_so(member: Member) -> None:
    task = await member.submit()
    shown = (await member.http.get(f"/v1/tasks/{task}")).json()["waiting"]
    [listed] = (await member.http.get("/v1/tasks")).json()["tasks"]
    assert shown == listed["waiting"]
    assert (shown["code"], shown["place"]) == ("no_scheduler", None)


async def recorded_submission(stack: Stack, member: Member, task: str) -> TaskSubmitted:
    [recorded] = await stack.host.runtime.log.read_stream(stream_id("gateway", member.org, "task", task))
    event: TaskSubmitted = recorded.event
    return event
