"""Many tasks at once."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from product import Product, product
from servers import until

ROOM = {"RCLAUDE_RUNNER_SLOTS": "200"}


def post_all(stack: Product, count: int, body: dict[str, Any], at_once: int) -> list[httpx2.Response]:
    """The answers to `count` equal submissions."""
    status = stack.status()
    key = Path(status["api_key"]).read_text().strip()

    async def submit() -> list[httpx2.Response]:
        limit = asyncio.Semaphore(at_once)
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(base_url=status["url"], headers=headers, timeout=60) as client:

            async def one() -> httpx2.Response:
                async with limit:
                    return await client.post("/v1/tasks", json=body)

            work: list[Coroutine[Any, Any, httpx2.Response]] = [one() for _ in range(count)]
            return await asyncio.gather(*work)

    return asyncio.run(submit())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [250, pytest.param(1000, marks=pytest.mark.nightly)])
def test_many_noop_tasks_all_succeed_and_the_views_equal_a_rebuild(count: int) -> None:
    with product(ROOM) as stack:
        services = psutil.Process(stack.status()["pids"]["services"])
        before = services.memory_info().rss
        answers = post_all(stack, count, {"prompt": "nothing", "agent": "noop"}, at_once=64)
        assert Counter(answer.status_code for answer in answers) == {201: count}
        ids = {answer.json()["id"] for answer in answers}
        assert len(ids) == count
        with stack.client() as api:

            def ended() -> int:
                return sum(1 for _ in pages(api, "succeeded"))

            until(lambda: ended() == count, f"{count} succeeded tasks", 60)
        grown = services.memory_info().rss - before
        assert grown < 100 * 1024 * 1024
        report = stack.verified()
        assert (report["tasks"], report["live"]) == (count, 0)
        stack.rebuilds_equal()
        assert stack.ok("usage", "--json").json["executions"]["used"] == count


def pages(api: httpx2.Client, state: str) -> Any:
    """Every task in a state, page by page."""
    cursor: str | None = None
    while True:
        page = api.get(
            "/v1/tasks", params={"state": state, "limit": 200, **({"cursor": cursor} if cursor else {})}
        ).json()
        yield from page["tasks"]
        cursor = page.get("next")
        if not cursor:
            return


@pytest.mark.timeout(300)
def test_of_110_submissions_at_once_the_free_plan_admits_exactly_100() -> None:
    with product(ROOM) as stack:
        assert stack.admin("plan", "set", stack.status()["org"], "free").code == 0
        answers = post_all(stack, 110, {"prompt": "nothing", "agent": "noop"}, at_once=110)
        assert Counter(answer.status_code for answer in answers) == {201: 100, 402: 10}
        refused = next(answer.json() for answer in answers if answer.status_code == 402)
        assert refused["code"] == "quota_exceeded"
        assigned = [event for event in stack.events("--type", "TaskAssigned") if event["data"]["admission"]]
        assert len(assigned) + len(stack.events("--type", "TaskAdmitted")) == 100
        done = stack.run("run", "--agent", "noop", "--no-repo", "one more")
        assert done.code == 3
        assert "100" in done.err
        stack.verified()
