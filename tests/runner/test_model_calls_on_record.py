"""A model call is on record before the model can begin, and its use before the sandbox has the whole answer."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

from event_examples import WINDOW
from messages_api import MODEL, MessagesApi, messages_api, text
from remote_claude.contracts import REGISTRY
from remote_claude.contracts.runner import Cumulative, UsageRecorded
from remote_claude.eventsourcing.memory import InMemoryEventLog
from remote_claude.runner.billed_time import UsageRecorder, Window
from remote_claude.runner.domain.attempt import AttemptId, Measured, Sample
from remote_claude.runner.handlers import AttemptLog
from remote_claude.runner.model_proxy import ModelProxy, Upstream

KEY = "sk-ant-made-up-for-this-test"
NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
STREAM = "ev.runner.org_a.attempt.task_1-1"
ASK = {"model": MODEL, "max_tokens": 100, "tools": [{"name": "Bash"}], "messages": []}


class Attempt:
    """An attempt's stream in memory, and its proxy."""

    def __init__(self, socket: Path, api: MessagesApi) -> None:
        self.log = InMemoryEventLog(REGISTRY)
        window = Window(lambda: NOW)
        attempt_log = AttemptLog(self.log, lambda: NOW, AttemptId("org_a", "task_1", 1, "run_1"), "cause")

        async def measure() -> Measured:
            model = self.proxy.usage()
            return window.measured(model.cumulative, model)

        self.recorder = UsageRecorder(attempt_log, measure)
        upstream = Upstream.from_environment({"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": api.base_url})
        assert upstream
        self.proxy = ModelProxy(socket, upstream, self.recorder.record)

    async def samples(self) -> list[UsageRecorded]:
        history = await self.log.read_stream(STREAM)
        return [recorded.event for recorded in history if recorded.type == "UsageRecorded"]


@pytest.fixture
def socket() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rc-", dir="/tmp") as folder:
        yield Path(folder) / "model.sock"


@asynccontextmanager
async def calling(socket: Path, api: MessagesApi) -> AsyncIterator[tuple[Attempt, httpx2.AsyncClient]]:
    attempt = Attempt(socket, api)
    transport = httpx2.AsyncHTTPTransport(uds=str(socket))
    async with attempt.proxy, httpx2.AsyncClient(transport=transport, base_url="http://model") as client:
        yield attempt, client


async def test_a_call_is_on_record_with_its_upper_estimate_when_the_model_sees_it(socket: Path) -> None:
    seen: list[UsageRecorded] = []

    async with messages_api([text("Hello")], hold_after=0) as api, calling(socket, api) as (attempt, client):
        asking = asyncio.create_task(client.post("/v1/messages", json=ASK | {"stream": True}))
        async with asyncio.timeout(60):
            while not api.requests:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        seen = await attempt.samples()
        api.release.set()
        await asking
    [opened] = seen
    [call] = opened.open_calls
    assert opened.cumulative.model_use == ()
    assert call.sent.quantities["input"] > 0
    assert call.upper_nano_usd >= call.nano_usd + 100 * 10_000
    assert opened.total.model_nano_usd == call.nano_usd


@pytest.mark.parametrize("stream", [True, False])
async def test_its_use_is_on_record_before_its_last_byte(socket: Path, stream: bool) -> None:
    async with messages_api([text("Hello")]) as api, calling(socket, api) as (attempt, client):
        answer = await client.post("/v1/messages", json=ASK | {"stream": stream})
        last = (await attempt.samples())[-1]
        assert answer.status_code == 200
    assert last.open_calls == ()
    assert last.cumulative.model_use[0].quantities["output"] == 80


async def test_calls_that_come_together_share_their_samples(socket: Path) -> None:
    async with messages_api([text("Hello")] * 20) as api, calling(socket, api) as (attempt, client):
        await asyncio.gather(*(client.post("/v1/messages", json=ASK) for _ in range(20)))
        samples = await attempt.samples()
    assert samples[-1].cumulative.model_use[0].calls == 20
    assert len(samples) < 40


async def test_a_call_that_cannot_be_recorded_is_not_made(socket: Path) -> None:
    async with messages_api([text("Hello")]) as api, calling(socket, api) as (attempt, client):
        await attempt.recorder.record()
        stolen = AttemptLog(attempt.log, lambda: NOW, AttemptId("org_a", "task_1", 1, "run_1"), "other")
        await stolen.load()
        await stolen.record(Sample(Measured(cumulative=Cumulative(vcpu_ms=1), **WINDOW)))
        answer = await client.post("/v1/messages", json=ASK)
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "api_error")
        assert api.requests == []
