"""The process manager `accounts`: nobody is without an account, and no account without its period."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from event_logs import connect, until
from remote_claude.billing.consumers import AccountOpener
from remote_claude.billing.handlers import Accounts
from remote_claude.contracts import EVENTS, REGISTRY, Sealed
from remote_claude.contracts.billing import PeriodOpened, PlanChanged
from remote_claude.contracts.users import OrgCreated
from remote_claude.eventsourcing.events import NewEvent, timestamp
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.jetstream.streams import ensure_streams
from remote_claude.eventsourcing.log import EventLog
from remote_claude.eventsourcing.memory import InMemoryEventLog
from remote_claude.eventsourcing.tail import Tail
from scheduler_process import say
from scheduling import Damaged, on_plan
from servers import Broker

ORG = "org_01"
NOVEMBER, DECEMBER = datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 12, 5, tzinfo=UTC)


async def said(log: InMemoryEventLog) -> list[object]:
    return [recorded.event for recorded in await log.read_stream(f"ev.billing.{ORG}.account.{ORG}")]


async def periods(log: InMemoryEventLog) -> list[str]:
    return [event.period for event in await said(log) if isinstance(event, PeriodOpened)]


@asynccontextmanager
async def billing_at(log: EventLog, now: datetime) -> AsyncIterator[None]:
    async with Tail(log) as tail:
        opener = AccountOpener(log, tail, lambda: now, Accounts(log, lambda: now), "free")
        work = [asyncio.create_task(run()) for run in (opener.roll_periods, opener.open_accounts)]
        yield
        for task in work:
            task.cancel()
        await asyncio.wait(work)


async def create(log: EventLog, org: str = ORG, owner: str = "user_01") -> None:
    event = OrgCreated(org=org, name=Sealed(key=org, box="x"), owner=owner)
    new = NewEvent(event=event, event_id=f"id-{org}", occurred_at=timestamp(NOVEMBER))
    await log.append(f"ev.users.{org}.org.{org}", [new], expected_position=0)


async def test_an_organisation_gets_the_default_plan_and_the_period_it_came_in() -> None:
    log = InMemoryEventLog(REGISTRY)
    async with billing_at(log, NOVEMBER):
        await create(log)

        async def opened() -> bool:
            return await periods(log) == ["2026-11"]

        await until(opened)
    assert [event.plan for event in await said(log) if isinstance(event, PlanChanged)] == ["free"]


async def test_a_month_that_began_while_nothing_ran_is_opened_at_the_start() -> None:
    log = InMemoryEventLog(REGISTRY)
    await create(log)
    await Accounts(log, lambda: NOVEMBER).open_account(ORG, "free")
    async with billing_at(log, DECEMBER):

        async def opened() -> bool:
            return await periods(log) == ["2026-11", "2026-12"]

        await until(opened)


async def test_an_account_that_is_opened_as_a_month_ends_gets_the_next_one_too() -> None:
    log = InMemoryEventLog(REGISTRY)
    accounts = Accounts(log, lambda: NOVEMBER)
    await accounts.open_account("org_00", "free")
    async with billing_at(log, DECEMBER):

        async def rolled() -> bool:
            return len(await log.read_stream("ev.billing.org_00.account.org_00")) == 3

        await until(rolled)
        await accounts.open_account(ORG, "free")  # by a clock that is behind, or on its way for long

        async def opened() -> bool:
            return await periods(log) == ["2026-11", "2026-12"]

        await until(opened)


async def test_an_organisation_that_can_not_be_read_keeps_nobody_from_an_account() -> None:
    log = InMemoryEventLog(Damaged(EVENTS.values()))
    await create(log, "org_00", owner="damaged")
    async with billing_at(log, NOVEMBER):
        await create(log, "org_001", owner="damaged")
        await create(log)

        async def opened() -> bool:
            return await periods(log) == ["2026-11"]

        await until(opened)


async def test_an_account_that_can_not_be_read_keeps_nobody_from_a_period() -> None:
    log = InMemoryEventLog(Damaged(EVENTS.values()))
    accounts = Accounts(log, lambda: NOVEMBER)
    for org in ("org_00", ORG):
        await create(log, org)
        await accounts.open_account(org, "free")
    await say(log, on_plan("damaged", org="org_00"))
    await accounts.open_account("org_00", "free")  # as it is for the owner of a stack, whenever it starts
    async with billing_at(log, DECEMBER):

        async def opened() -> bool:
            return await periods(log) == ["2026-11", "2026-12"]

        await until(opened)


async def test_two_at_once_open_every_account_and_every_period_once(fresh_nats: Broker) -> None:
    orgs = [f"org_{n:02}" for n in range(50)]
    clients = [await connect(fresh_nats) for _ in range(2)]
    await ensure_streams(clients[0])

    async def opened(log: EventLog) -> Counter[tuple[str, str]]:
        events = [r.event async for batch in log.read(subjects="ev.billing.>") for r in batch]
        return Counter((event.org, getattr(event, "period", "plan")) for event in events)

    async with JetStreamEventLog(clients[0], REGISTRY) as one, JetStreamEventLog(clients[1], REGISTRY) as two:
        for now, said in ((NOVEMBER, ("plan", "2026-11")), (DECEMBER, ("plan", "2026-11", "2026-12"))):
            async with billing_at(one, now), billing_at(two, now):
                if now is NOVEMBER:
                    await asyncio.gather(*(create(one, org) for org in orgs))
                wanted = {(org, what) for org in orgs for what in said}

                async def all_opened(wanted: set[tuple[str, str]] = wanted) -> bool:
                    return set(await opened(one)) >= wanted

                await until(all_opened)
            assert await opened(two) == dict.fromkeys(wanted, 1)
        assert one.stats.conflicts + two.stats.conflicts > 0
    for client in clients:
        await client.close()
