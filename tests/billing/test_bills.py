"""From events to the evidence that a bill is the sum of."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from event_examples import WINDOW
from rebuilding import assert_rebuild_equals_live
from remote_claude.access.principal import ApiKey, Principal
from remote_claude.billing.domain.bill import Bill
from remote_claude.billing.domain.plans import builtin
from remote_claude.billing.projections import bills
from remote_claude.billing.projections.bills import Evidence
from remote_claude.billing.projections.breakdown import breakdown, task_breakdown
from remote_claude.billing.projections.conservation import conservation
from remote_claude.billing.projections.usage import UsageView
from remote_claude.contracts import REGISTRY, Event, Sealed
from remote_claude.contracts.billing import PeriodClosed, PeriodOpened, PlanChanged
from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.contracts.prices import Allowance, PerUnit, PriceBook
from remote_claude.contracts.runner import (
    WORKER_FAILED,
    WORKER_LOST,
    Cumulative,
    ModelUse,
    TaskStarted,
    UsageRecorded,
)
from remote_claude.contracts.scheduler import Admission, RunnerLost, TaskAdmitted, TaskFailed
from remote_claude.eventsourcing.events import NewEvent, new_event_id
from remote_claude.eventsourcing.memory import InMemoryEventLog
from remote_claude.eventsourcing.postgres.projector import Projector
from remote_claude.eventsourcing.tail import Tail

NOVEMBER, DECEMBER = "2026-11-30T23:59:59.000000Z", "2026-12-01T00:00:01.000000Z"
ORG = "org_1"
OWNER = Principal(
    org=ORG, user="user_9", credential=ApiKey("key_1"), scopes=frozenset({"billing"}), role="owner"
)


class Ledger:
    """A log, and what billing makes of it."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[Any]]) -> None:
        self.pool = pool
        self.log = InMemoryEventLog(REGISTRY)
        self._positions: dict[str, int] = {}

    async def say(self, *events: Event, at: str = NOVEMBER) -> None:
        for event in events:
            if isinstance(event, UsageRecorded):
                event = event.model_copy(update={"measured_to": at})
            stream = f"ev.{event.producer}.{ORG}.{event.aggregate}.{getattr(event, 'task', ORG)}"
            new = NewEvent(event=event, event_id=new_event_id(), occurred_at=at)
            self._positions[stream] = await self.log.append(
                stream, [new], expected_position=self._positions.get(stream, 0)
            )

    async def evidence(self, period: str = "2026-11", org: str = ORG) -> list[Evidence]:
        async with Tail(self.log) as tail:
            projector = Projector(UsageView(), self.pool, self.log, tail)
            async with running(projector):
                assert await projector.wait_for(await self.log.last_position(), 30)
        await assert_rebuild_equals_live(UsageView(), self.pool, self.log)
        async with self.pool.connection() as connection:
            return await bills.evidence(connection, org, period=period)


@contextlib.asynccontextmanager
async def running(projector: Projector) -> AsyncIterator[None]:
    task = asyncio.create_task(projector.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def ledger(postgres_dsn: str) -> AsyncIterator[Ledger]:
    async with AsyncConnectionPool(postgres_dsn, min_size=1, max_size=5, open=False) as pool:
        yield Ledger(pool)


def started(task: str, attempt: int = 1) -> TaskStarted:
    return TaskStarted(org=ORG, task=task, attempt=attempt, runner="runner_1")


def sample(task: str, sequence: int, vcpu_ms: int, nano_usd: int = 0, attempt: int = 1) -> UsageRecorded:
    used = Cumulative(vcpu_ms=vcpu_ms, model_nano_usd=nano_usd)
    return UsageRecorded(
        org=ORG, task=task, attempt=attempt, runner="runner_1", sequence=sequence, cumulative=used, **WINDOW
    )


def sums(found: list[Evidence]) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for item in found:
        counted[item.meter] += item.quantity
    return dict(counted)


async def test_the_last_sample_counts_and_a_lost_one_is_made_up_by_the_next(ledger: Ledger) -> None:
    await ledger.say(started("task_1"), sample("task_1", 1, 100), sample("task_1", 3, 300))
    assert sums(await ledger.evidence()) == {"executions": 1, "vcpu_ms": 300}


async def test_a_repeated_or_late_sample_changes_nothing(ledger: Ledger) -> None:
    await ledger.say(
        started("task_1"), sample("task_1", 2, 200), sample("task_1", 2, 200), sample("task_1", 1, 100)
    )
    assert sums(await ledger.evidence()) == {"executions": 1, "vcpu_ms": 200}


async def test_a_job_that_is_queued_again_and_starts_twice_is_one_execution(ledger: Ledger) -> None:
    await ledger.say(started("task_1"), started("task_1", 2))
    assert sums(await ledger.evidence()) == {"executions": 1}


async def test_a_lost_attempt_is_charged_its_model_dollars_and_no_compute(ledger: Ledger) -> None:
    lost = RunnerLost(
        org=ORG, task="task_1", attempt=1, runner="runner_1", reason="lease_expired", charge=False
    )
    await ledger.say(
        started("task_1"), sample("task_1", 1, 100, nano_usd=7), lost, sample("task_1", 2, 150, nano_usd=9)
    )
    await ledger.say(sample("task_1", 1, 40, nano_usd=1, attempt=2))
    assert sums(await ledger.evidence()) == {"executions": 1, "vcpu_ms": 40, "model_nano_usd": 10}


async def test_an_attempt_whose_worker_says_that_it_was_at_fault_is_charged(ledger: Ledger) -> None:
    failed = TaskFailed(org=ORG, task="task_1", attempt=1, reason=WORKER_FAILED)
    await ledger.say(started("task_1"), sample("task_1", 1, 100, nano_usd=7), failed)
    assert sums(await ledger.evidence()) == {"executions": 1, "vcpu_ms": 100, "model_nano_usd": 7}


async def test_an_attempt_that_may_have_ended_its_own_worker_is_charged(ledger: Ledger) -> None:
    lost = RunnerLost(org=ORG, task="task_1", attempt=1, runner="runner_1", reason=WORKER_LOST, charge=True)
    await ledger.say(started("task_1"), sample("task_1", 1, 100, nano_usd=7), lost)
    assert sums(await ledger.evidence()) == {"executions": 1, "vcpu_ms": 100, "model_nano_usd": 7}


async def test_use_across_midnight_belongs_to_the_month_of_its_sample_and_is_counted_once(
    ledger: Ledger,
) -> None:
    await ledger.say(started("task_1"), sample("task_1", 1, 100))
    await ledger.say(sample("task_1", 2, 250), at=DECEMBER)
    assert sums(await ledger.evidence("2026-11")) == {"executions": 1, "vcpu_ms": 100}
    assert sums(await ledger.evidence("2026-12")) == {"vcpu_ms": 150}


async def test_a_clock_that_goes_back_over_midnight_bills_nothing_twice(ledger: Ledger) -> None:
    await ledger.say(started("task_1"), sample("task_1", 1, 100))
    await ledger.say(sample("task_1", 2, 150), at=DECEMBER)
    await ledger.say(sample("task_1", 3, 170))
    assert sums(await ledger.evidence("2026-11")) == {"executions": 1, "vcpu_ms": 100}
    assert sums(await ledger.evidence("2026-12")) == {"vcpu_ms": 70}


async def test_evidence_names_its_event(ledger: Ledger) -> None:
    await ledger.say(started("task_1"), sample("task_1", 1, 100))
    found = await ledger.evidence()
    recorded = [event async for batch in ledger.log.read() for event in batch]
    assert {(e.event_id, e.position) for e in found} == {(r.event_id, r.position) for r in recorded}


async def test_a_task_is_known_from_its_submission_on_to_its_own_organisation_only(ledger: Ledger) -> None:
    prompt = Sealed(key=ORG, box="")
    await ledger.say(
        TaskSubmitted(task="task_1", org=ORG, user="user_1", prompt=prompt, agent="shell", body_hash="0" * 64)
    )
    assert await ledger.evidence() == []
    async with ledger.pool.connection() as connection:
        assert await bills.sees_task(connection, OWNER, "task_1")
        assert not await bills.sees_task(connection, replace(OWNER, org="org_2"), "task_1")
        assert not await bills.sees_task(connection, OWNER, "task_2")
        assert await bills.sees_task(connection, replace(OWNER, user="user_1", role="member"), "task_1")
        assert not await bills.sees_task(connection, replace(OWNER, user="user_2", role="member"), "task_1")


async def test_each_dimension_and_the_tasks_sum_to_what_the_organisation_used(ledger: Ledger) -> None:
    shown = {
        "task_1": ("user_1", {"team": "a"}),
        "task_2": ("user_1", {}),
        "task_3": ("user_2", {"team": "a"}),
    }
    for n, (task, (user, labels)) in enumerate(shown.items(), start=1):
        submitted = TaskSubmitted(
            task=task, org=ORG, user=user, prompt=Sealed(key="k", box="b"), agent="claude",
            label_hashes=labels, body_hash="0" * 64, team="team_1" if task == "task_2" else None,
        )  # fmt: skip
        await ledger.say(submitted, started(task), sample(task, 1, 100 * n, nano_usd=n))
    lost = RunnerLost(
        org=ORG, task="task_3", attempt=1, runner="runner_1", reason="lease_expired", charge=False
    )
    await ledger.say(lost)
    await ledger.evidence()
    async with ledger.pool.connection() as connection:
        used = {
            by: {g.group: g.quantities for g in await breakdown(connection, ORG, by, "2026-11-01", 10)}
            for by in ("day", "person", "team", "label", "agent", "model")
        }
        tasks = await task_breakdown(connection, OWNER, "2026-11-01", 2, None)
        last = await task_breakdown(connection, OWNER, "2026-11-01", 2, (2, "task_2"))
        seen = replace(OWNER, user="user_9", role="member", teams=("team_1",), visibility="team")
        of_team = await task_breakdown(connection, seen, "2026-11-01", 2, None)
        dearest = await bills.evidence(connection, ORG, period="2026-11", meter="model_nano_usd", limit=2)
        none = await bills.evidence(connection, ORG, period="2026-11", meter="egress_bytes", limit=2)
    whole = {"executions": 3, "vcpu_ms": 300, "model_nano_usd": 6}
    assert used["day"] == {"2026-11-30": whole}
    assert used["agent"] == {"claude": whole}
    assert used["person"]["user_2"] == {"executions": 1, "model_nano_usd": 3}
    assert used["label"][None] == {"executions": 1, "vcpu_ms": 200, "model_nano_usd": 2}
    assert used["label"]["team=a"] == {"executions": 2, "vcpu_ms": 100, "model_nano_usd": 4}
    assert used["team"]["team_1"] == {"executions": 1, "vcpu_ms": 200, "model_nano_usd": 2}
    assert [task.group for task in of_team] == ["task_2"]
    assert [task.group for task in (*tasks, *last)] == ["task_3", "task_2", "task_1"]
    assert ([e.task for e in dearest], none) == (["task_1", "task_2"], [])
    assert not {name for name in (await conservation(ledger.pool, "2026-11")).breaches if " of " in name}
    async with ledger.pool.connection() as connection:
        await connection.execute("UPDATE billing_usage.group_day SET executions = 7 WHERE name = 'user_2'")
        await connection.execute("DELETE FROM billing_usage.task_use WHERE task = 'task_1'")
    breaches = (await conservation(ledger.pool, "2026-11")).breaches
    assert {"executions of people", "model_nano_usd of tasks"} <= breaches.keys()


async def scans(connection: AsyncConnection[Any]) -> dict[str, int]:
    """How often each table of the view was read over this connection, as far as PostgreSQL has not reported it."""
    found = await connection.execute(
        "SELECT relname, seq_scan + coalesce(idx_scan, 0) FROM pg_stat_xact_user_tables WHERE schemaname = 'billing_usage'"
    )
    return dict(await found.fetchall())


async def test_bills_and_sums_read_no_row_of_a_task(ledger: Ledger) -> None:
    await ledger.say(opened(), started("task_1"), sample("task_1", 1, 100, nano_usd=7))
    await ledger.evidence()
    async with ledger.pool.connection() as connection, connection.transaction():
        before = await scans(connection)  # those of the connection's earlier work are not reported yet
        assert await bills.period_bill(connection, ORG, "2026-11") is not None
        for by in ("day", "person", "team", "repository", "label", "model", "agent"):
            await breakdown(connection, ORG, by, "2026-11-01", 10)
        after = await scans(connection)
    read = {table for table, count in after.items() if count > before.get(table, 0)}
    assert read == {"period", "segment", "total", "group_day", "model_day"}


async def test_another_organisation_sees_nothing_of_it(ledger: Ledger) -> None:
    plan = builtin().plans["free"]
    await ledger.say(PlanChanged(org=ORG, plan="free", entitlements=plan.entitlements), started("task_1"))
    assert await ledger.evidence(org="org_2") == []


async def test_what_is_metered_is_charged_included_or_written_off(ledger: Ledger) -> None:
    lost = RunnerLost(
        org=ORG, task="task_1", attempt=1, runner="runner_1", reason="lease_expired", charge=False
    )
    await ledger.say(started("task_1"), sample("task_1", 1, 100, nano_usd=7), lost)
    await ledger.say(started("task_2"), sample("task_2", 1, 40, nano_usd=2))
    await ledger.evidence()
    unbilled = await conservation(ledger.pool, "2026-11")  # the period is not open
    assert unbilled.metered == {"executions": 2, "vcpu_ms": 140, "model_nano_usd": 9}
    assert unbilled.unaccounted == {"executions": 2, "vcpu_ms": 40, "model_nano_usd": 9}
    bounds = {"starts_at": "2026-11-01T00:00:00.000000Z", "ends_at": "2026-12-01T00:00:00.000000Z"}
    book = builtin().plans["free"].price_book
    opened = PeriodOpened(
        org=ORG, period="2026-11", plan="free", plan_version="1", customer=ORG, price_book=book, **bounds
    )
    await ledger.say(opened)
    await ledger.evidence()
    found = await conservation(ledger.pool, "2026-11")
    assert not any(found.unaccounted.values())
    assert (found.charged["vcpu_ms"], found.written_off["vcpu_ms"]) == (40, 100)
    assert (found.charged["executions"], found.included["executions"]) == (0, 2)
    assert found.charged["model_nano_usd"] == 9


def opened(plan: str = "self-hosted") -> PeriodOpened:
    return PeriodOpened(
        org=ORG,
        period="2026-11",
        starts_at="2026-11-01T00:00:00.000000Z",
        ends_at="2026-12-01T00:00:00.000000Z",
        plan=plan,
        plan_version="1",
        customer=ORG,
        price_book=builtin().plans[plan].price_book,
    )


async def november(ledger: Ledger, until: int | None = None) -> Bill:
    await ledger.evidence()
    async with ledger.pool.connection() as connection:
        bill = await bills.period_bill(connection, ORG, "2026-11", until=until)
    assert bill is not None
    return bill


async def test_what_comes_after_a_period_was_closed_is_late_and_what_was_billed_stays(ledger: Ledger) -> None:
    await ledger.say(opened(), started("task_1"), sample("task_1", 1, 100))
    await ledger.say(PeriodClosed(org=ORG, period="2026-11", position=3))
    await ledger.say(sample("task_1", 2, 150))
    assert (await november(ledger, until=1)).total_nano == 100 * 11
    assert (await november(ledger)).total_nano == 150 * 11
    async with ledger.pool.connection() as connection:
        billed = await bills.evidence(connection, ORG, period="2026-11", meter="vcpu_ms", until=1)
    assert [(e.quantity, e.position) for e in billed] == [(100, 3)]


async def test_compute_that_was_billed_before_its_attempt_was_lost_is_taken_back(ledger: Ledger) -> None:
    lost = RunnerLost(
        org=ORG, task="task_1", attempt=1, runner="runner_1", reason="lease_expired", charge=False
    )
    await ledger.say(opened(), started("task_1"), sample("task_1", 1, 100, nano_usd=7))
    await ledger.say(PeriodClosed(org=ORG, period="2026-11", position=3), lost)
    assert (await november(ledger, until=1)).total_nano == 100 * 11 + 7
    assert (await november(ledger)).total_nano == 7


async def test_an_upgrade_within_a_period_bills_each_plan_for_its_time(ledger: Ledger) -> None:
    pro = builtin().plans["pro"]
    await ledger.say(opened("free"), started("task_1"), at="2026-11-10T00:00:00.000000Z")
    changed = PlanChanged(
        org=ORG,
        plan="pro",
        entitlements=pro.entitlements,
        price_book=pro.price_book,
        effective_at="2026-11-16T00:00:00.000000Z",
    )
    await ledger.say(changed, started("task_2"), at="2026-11-16T00:00:00.000000Z")
    bill = await november(ledger)
    assert [(line.meter, line.segment, line.quantity) for line in bill.lines] == [
        ("executions", 0, 1), ("subscription", 1, 1), ("executions", 1, 1),
    ]  # fmt: skip
    assert bill.total_nano == 29 * 10**9 // 2


async def test_an_execution_belongs_to_the_period_that_its_admission_named(ledger: Ledger) -> None:
    admission = Admission(period="2026-11", plan_version="1", reservations=())
    await ledger.say(TaskAdmitted(org=ORG, task="task_1", admission=admission))
    await ledger.say(started("task_1"), at=DECEMBER)
    assert sums(await ledger.evidence("2026-11")) == {"executions": 1}
    assert sums(await ledger.evidence("2026-12")) == {}


async def test_the_parts_of_tasks_sum_to_the_line_of_a_model_and_to_that_of_a_kind_of_token(
    ledger: Ledger,
) -> None:
    components = (
        PerUnit(meter="model_tokens", model="claude-a", price="0.7"),
        PerUnit(meter="model_tokens", token="output", price="1.1"),
        Allowance(meter="model_tokens", token="output", quantity=5),
    )  # fmt: skip
    book = PriceBook(version="1", components=components)
    await ledger.say(opened().model_copy(update={"price_book": book}))
    tasks = [f"task_{n}" for n in range(3)]
    for n, task in enumerate(tasks, 1):
        uses = tuple(
            ModelUse(provider="anthropic", model=model, quantities={"input": 3 * n, "output": 7 * n})
            for model in ("claude-a", "claude-b")
        )
        used = sample(task, 1, 0)
        await ledger.say(started(task), used.model_copy(update={"cumulative": Cumulative(model_use=uses)}))
    bill = await november(ledger)
    lines = [line for line in bill.lines if line.meter == "model_tokens"]
    assert [(line.model, line.token, line.quantity) for line in lines] == [
        (None, "output", 42), ("claude-a", None, 60),
    ]  # fmt: skip
    async with ledger.pool.connection() as connection:
        for line in lines:
            keys = bill.keys(line)
            parts = [await bills.task_share(connection, bill, line, keys, task) for task in tasks]
            assert sum(parts) == line.amount_nano
            assert bill.events(line) == 3 * len(keys)


async def test_the_parts_of_tasks_sum_to_a_line_whose_price_is_a_fraction(ledger: Ledger) -> None:
    components = (
        PerUnit(meter="executions", price="10"), Allowance(meter="executions", quantity=1),
    )  # fmt: skip
    book = PriceBook(version="1", components=components)
    tasks = [f"task_{n}" for n in range(3)]
    await ledger.say(opened().model_copy(update={"price_book": book}), *map(started, tasks))
    bill = await november(ledger)
    [line] = bill.lines
    assert bills.simple_share(line, 1) is None
    async with ledger.pool.connection() as connection:
        parts = [await bills.task_share(connection, bill, line, bill.keys(line), task) for task in tasks]
    assert (sum(parts), sorted(parts)) == (20, [6, 7, 7])
