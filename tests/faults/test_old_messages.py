"""Messages come again, hours after their time: they are refused, recognised, or decide nothing.

Nothing here depends on a window of time, so a restart stands for the hours: it empties every memory there is.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import nats
import pytest
from nats.aio.client import Client
from nats.js.errors import APIError

from product import Product, product
from remote_claude.contracts.leases import SUBJECT
from servers import until

LEASES = {"RCLAUDE_SCHEDULER_LEASE_S": "5", "RCLAUDE_RUNNER_LEASE_S": "5"}
WRONG_LAST_SEQUENCE = 10071


@dataclass(frozen=True)
class Message:
    """An event as it was sent: its bytes, and the position that its sender expected."""

    subject: str
    headers: dict[str, str]
    data: bytes
    guard: int


@pytest.fixture(scope="module")
def stack() -> Iterator[Product]:
    with product(LEASES) as one:
        yield one


@asynccontextmanager
async def client(stack: Product, user: str) -> AsyncIterator[Client]:
    known = stack.stack_file()
    one = await nats.connect(known["nats_url"], nkeys_seed=known["nats_users"][user])
    try:
        yield one
    finally:
        await one.close()


async def said(stack: Product) -> list[Message]:
    """Everything that was ever sent to the log."""
    found: list[Message] = []
    last: Counter[str] = Counter()
    async with client(stack, "admin") as one:
        js = one.jetstream()
        for position in range(1, (await js.stream_info("EVENTS")).state.last_seq + 1):
            message = await js.get_msg("EVENTS", position)
            headers = {k: v for k, v in (message.headers or {}).items() if not k.startswith("Nats-")}
            found.append(
                Message(message.subject or "", headers, message.data or b"", last[message.subject or ""])
            )
            last[message.subject or ""] = position
    return found


async def send(stack: Product, messages: list[Message], *, guarded: bool) -> Counter[int]:
    """Send them again, each with its producer's own credential. How often each error was the answer, 0 for none."""
    answers: Counter[int] = Counter()
    for producer in sorted({message.subject.split(".")[1] for message in messages}):
        async with client(stack, producer) as one:
            for message in messages:
                if message.subject.split(".")[1] == producer:
                    guard = {"Nats-Expected-Last-Subject-Sequence": str(message.guard)} if guarded else {}
                    try:
                        await one.jetstream().publish(
                            message.subject, message.data, headers={**message.headers, **guard}
                        )
                        answers[0] += 1
                    except APIError as error:
                        answers[error.err_code or -1] += 1
    return answers


def hours_later(stack: Product) -> None:
    """Broker and services have forgotten all that they knew besides the log."""
    for role in ("nats", "services"):
        before = stack.pids()[role]
        stack.kill(role)
        until(lambda role=role, before=before: stack.stack_file()["pids"].get(role, before) != before, role)  # type: ignore[misc]
    stack.api("/v1/tasks")


def decided(stack: Product) -> list[Any]:
    return stack.events("--subject", "ev.scheduler.>")


def seen(stack: Product) -> tuple[Any, Any]:
    """What a user sees of tasks and money, of all that the log says."""
    end = stack.events()[-1]["position"]
    tasks = stack.api("/v1/tasks", limit=200, min_position=end).json()["tasks"]
    return tasks, stack.api("/v1/bill", min_position=end).json()["lines"]


def test_a_guarded_message_that_comes_again_is_refused(stack: Product) -> None:
    stack.ok("run", "--agent", "shell", "--no-repo", "echo one")
    messages = asyncio.run(said(stack))
    hours_later(stack)
    assert asyncio.run(send(stack, messages, guarded=True)) == {WRONG_LAST_SEQUENCE: len(messages)}
    assert asyncio.run(send(stack, messages[::-1], guarded=True)) == {WRONG_LAST_SEQUENCE: len(messages)}
    stack.verified()


def test_a_request_that_comes_again_is_one_task_with_one_answer(stack: Product) -> None:
    body = {"prompt": "echo once", "agent": "shell"}
    with stack.client() as api:
        first = api.post("/v1/tasks", json=body, headers={"Idempotency-Key": "the-one"})
    stack.ended(first.json()["id"])
    hours_later(stack)
    with stack.client() as api:
        again = api.post("/v1/tasks", json=body, headers={"Idempotency-Key": "the-one"})
        other = api.post("/v1/tasks", json=body | {"prompt": "echo"}, headers={"Idempotency-Key": "the-one"})
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert (other.status_code, other.json()["code"]) == (httpx2.codes.CONFLICT, "idempotency_key_reused")
    submitted = [e["task"] for e in stack.events("--type", "TaskSubmitted")]
    assert submitted.count(first.json()["id"]) == 1
    stack.verified()


def test_what_an_old_runner_says_of_an_attempt_that_another_has_is_refused(stack: Product) -> None:
    task = stack.submit("echo begun; sleep 600; echo finished")
    until(lambda: "begun" in stack.output(task), "the first line of output", 60, pause=0.1)
    before = [m for m in asyncio.run(said(stack)) if f"attempt.{task}-1" in m.subject]
    stack.kill("services")
    until(
        lambda: [e["type"] for e in decided(stack) if e["task"] == task].count("TaskAssigned") == 2,
        "a second attempt",
        60,
        pause=0.2,
    )
    last = before[-1]
    lie = json.loads(last.data) | {"outcome": "succeeded"}
    kept = Message(
        last.subject, {**last.headers, "ce-id": "00000000-0000-5000-8000-000000000001"},
        json.dumps(lie).encode(), guard=len(asyncio.run(said(stack))),
    )  # fmt: skip
    assert asyncio.run(send(stack, [*before, kept], guarded=True)) == {WRONG_LAST_SEQUENCE: len(before) + 1}

    async def renewed() -> Any:
        held = {"org": lie["org"], "task": task, "attempt": 1}
        async with client(stack, "services") as one:
            request = json.dumps({"runner": lie["runner"], "attempts": [held]}).encode()
            return held, json.loads((await one.request(SUBJECT, request, timeout=10)).data)

    held, answer = asyncio.run(renewed())
    assert answer["revoked"] == [held]
    assert stack.ended_once_woken(task)["state"] == "succeeded"
    stack.verified()


def test_what_comes_again_without_its_guard_costs_nothing_and_is_named(stack: Product) -> None:
    """By a gateway while the task lives, by a runner after it. Last: it leaves a log that says things twice."""
    task = stack.submit("echo begun; sleep 600; echo finished")
    until(lambda: "begun" in stack.output(task), "the first line of output", 60, pause=0.1)
    asked = [m for m in asyncio.run(said(stack)) if f"task.{task}" in m.subject]
    assert asyncio.run(send(stack, asked, guarded=False)) == {0: 1}
    assert stack.ended_once_woken(task)["state"] == "succeeded"
    before, words = seen(stack), decided(stack)
    assert [e["type"] for e in words if e["task"] == task] == ["TaskAssigned", "TaskSucceeded"]  # fmt: skip
    hours_later(stack)
    told = [m for m in asyncio.run(said(stack)) if f"attempt.{task}-1" in m.subject]
    assert asyncio.run(send(stack, told, guarded=False)) == {0: len(told)}
    assert seen(stack) == before
    assert decided(stack) == words
    for view in ("gateway_tasks", "billing_usage"):
        assert stack.admin("rebuild", view, "--json").json["equal"] is True
    report = stack.admin("verify", "--json")
    assert report.code == 1
    named = {v["detail"] for v in report.json["violations"] if v["rule"] == "event ids are unique"}
    assert named == {m.headers["ce-id"] for m in (*asked, *told)}
