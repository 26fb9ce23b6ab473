"""The scheduler as the host runs it: a real broker, a real PostgreSQL, requests on core NATS."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx2
from nats.errors import NoRespondersError

from projecting import eventually
from remote_claude.contracts.leases import SUBJECT, HeldAttempt, LeaseAnswer, LeaseRequest
from remote_claude.contracts.requests import EXPLAIN_WAITING
from remote_claude.contracts.scheduler import (
    TaskAdmitted,
    TaskAssigned,
    TaskRejected,
    TaskSucceeded,
    TerminalEvent,
)
from remote_claude.contracts.waiting import Waiting, WaitingAnswer, WaitingRequest
from remote_claude.runtime.host import Host, hosting
from remote_claude.runtime.settings import RuntimeSettings
from remote_claude.scheduler.service import build
from scheduler_process import (
    SimulatedRunner,
    admissions,
    admitted,
    count,
    ended_once,
    happened,
    say,
    say_at_once,
)
from scheduling import FREE, ORG, joined, on_plan, submitted
from servers import Broker, until

TERMINAL = TerminalEvent | TaskRejected


@asynccontextmanager
async def scheduler(settings: RuntimeSettings) -> AsyncIterator[Host]:
    async with hosting([build], settings, {}, name="scheduler") as host:
        yield host


async def renew(host: Host, *attempts: HeldAttempt, runner: str = "run_1") -> LeaseAnswer:
    """Ask as a runner does, until a leader answers."""
    request = LeaseRequest(runner=runner, attempts=attempts).model_dump_json().encode()
    while True:
        with suppress(NoRespondersError):  # it does not listen yet
            reply = await host.runtime.nats.request(SUBJECT, request, timeout=20)
            return LeaseAnswer.model_validate_json(reply.data)
        await asyncio.sleep(0.01)


async def why(host: Host, *tasks: str) -> list[Waiting]:
    """Ask as a gateway does."""
    request = WaitingRequest(org=ORG, tasks=tasks).model_dump_json().encode()
    reply = await host.runtime.nats.request(EXPLAIN_WAITING.subject, request, timeout=20)
    return list(WaitingAnswer.model_validate_json(reply.data).waiting)


async def pause_consumers(host: Host, until: str) -> None:
    """Nobody reads the log any further."""
    jetstream = host.runtime.nats.jsm()
    for consumer in await jetstream.consumers_info("EVENTS"):
        request = json.dumps({"pause_until": until}).encode()
        reply = await host.runtime.nats.request(f"$JS.API.CONSUMER.PAUSE.EVENTS.{consumer.name}", request)
        assert "error" not in json.loads(reply.data)


async def leading(host: Host) -> None:
    status = host.services[0].status
    await asyncio.to_thread(until, lambda: bool(status()["leader"]), "the scheduler leads")


async def test_a_runner_is_answered_on_core_nats(settings: RuntimeSettings) -> None:
    async with scheduler(settings) as host:
        await leading(host)
        assert await renew(host) == LeaseAnswer(known=False)
        log, tail = host.runtime.log, host.runtime.tail
        await say(log, joined())
        await say(log, on_plan())
        await say(log, submitted())
        await happened(tail, log, count(TaskAssigned, 1))
        mine, gone = (HeldAttempt(org=ORG, task="task_1", attempt=n) for n in (1, 7))
        assert await renew(host, mine, gone) == LeaseAnswer(known=True, revoked=(gone,))


async def test_an_unreadable_renewal_delays_no_other(settings: RuntimeSettings) -> None:
    async with scheduler(settings) as host:
        await leading(host)
        assert await renew(host) == LeaseAnswer(known=False)
        for rubbish in (b"", b"\xff", b"{}", b'{"runner": 3}'):
            await host.runtime.nats.publish(SUBJECT, rubbish)
        assert await renew(host) == LeaseAnswer(known=False)


async def test_a_runner_that_has_read_further_than_the_scheduler_delays_no_other(
    settings: RuntimeSettings,
) -> None:
    async with scheduler(settings) as host:
        await leading(host)
        log = host.runtime.log
        await say(log, joined("run_1"))
        assert await renew(host, runner="run_1") == LeaseAnswer(known=True)
        await pause_consumers(host, "2100-01-01T00:00:00Z")
        await say(log, joined("run_2"))
        ahead = asyncio.create_task(renew(host, runner="run_2"))
        await asyncio.sleep(0)
        await host.runtime.nats.flush()  # it has been asked
        assert await renew(host, runner="run_1") == LeaseAnswer(known=True)
        assert not ahead.done()
        await pause_consumers(host, "2000-01-01T00:00:00Z")
        assert await ahead == LeaseAnswer(known=True)


async def test_a_gateway_asks_on_core_nats_why_a_task_waits(settings: RuntimeSettings) -> None:
    async with scheduler(settings) as host:
        await leading(host)
        await renew(host)
        log, tail = host.runtime.log, host.runtime.tail
        await say(log, on_plan())
        await say(log, submitted())
        await happened(tail, log, count(TaskAdmitted, 1))
        [reason] = await why(host, "task_1", "task_9")
        assert (reason.task, reason.code, reason.place) == ("task_1", "no_runner", 1)
        await say(log, joined(agents=("claude",)))

        async def unfit() -> bool:
            [reason] = await why(host, "task_1")
            return reason.code == "no_fitting_runner"

        await eventually(unfit)


async def test_readiness_status_and_metrics_are_served(settings: RuntimeSettings) -> None:
    async with (
        scheduler(settings) as host,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{host.port}") as http,
    ):
        await leading(host)
        log, tail = host.runtime.log, host.runtime.tail
        await say(log, on_plan())
        await say(log, submitted())
        await happened(tail, log, count(TaskAdmitted, 1))
        assert host.services[0].ready() is None
        page = (await http.get("/metrics")).text
        assert re.search(r"^rclaude_scheduler_leader\{.*\} 1.0$", page, re.MULTILINE)
        assert re.search(
            r'^rclaude_scheduler_decisions_total\{.*type="TaskAdmitted".*\} 1.0$', page, re.MULTILINE
        )


async def test_a_second_start_goes_on_from_the_snapshot(settings: RuntimeSettings) -> None:
    async with scheduler(settings) as host:
        await leading(host)
        await say(host.runtime.log, on_plan("free", FREE))
        await say_at_once(host.runtime.log, (submitted(f"task_{n}") for n in range(60)))
        await happened(host.runtime.tail, host.runtime.log, admissions(60))
    async with scheduler(settings) as host:
        async with host.runtime.pool.connection() as connection:
            cursor = await connection.execute("SELECT position FROM scheduler.snapshot")
            row = await cursor.fetchone()
        assert row is not None
        assert row[0] > 60
        async with SimulatedRunner(host.runtime.log).running():
            await say_at_once(host.runtime.log, (submitted(f"task_{n}") for n in range(60, 110)))
            decided = await happened(host.runtime.tail, host.runtime.log, count(TERMINAL, 110))
    kinds = Counter(type(event) for event in decided)
    assert (len(admitted(decided)), kinds[TaskRejected], kinds[TaskSucceeded]) == (100, 10, 100)


async def test_what_is_decided_while_the_broker_dies_is_decided_once(
    settings: RuntimeSettings, fresh_nats: Broker
) -> None:
    async with scheduler(settings) as host:
        await leading(host)
        log, tail = host.runtime.log, host.runtime.tail
        await say(log, on_plan("free", FREE))
        await say_at_once(log, (submitted(f"task_{n}") for n in range(110)))
        await asyncio.to_thread(fresh_nats.kill)
        await asyncio.to_thread(fresh_nats.start)
        await happened(tail, log, admissions(100))
        async with SimulatedRunner(log).running():
            decided = await happened(tail, log, count(TERMINAL, 110))
    assert ended_once(decided, TERMINAL)
    kinds = Counter(type(event) for event in decided)
    assert (kinds[TaskAdmitted], kinds[TaskRejected]) == (100, 10)
