"""The process manager `accounts`: nobody is without an account, and no account without its period."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from event_logs import until
from remote_claude.billing.consumers import AccountOpener
from remote_claude.billing.handlers import Accounts
from remote_claude.contracts import REGISTRY, Sealed
from remote_claude.contracts.billing import PeriodOpened, PlanChanged
from remote_claude.contracts.users import OrgCreated
from remote_claude.eventsourcing.events import NewEvent, timestamp
from remote_claude.eventsourcing.memory import InMemoryEventLog
from remote_claude.eventsourcing.tail import Tail

ORG = "org_01"
NOVEMBER, DECEMBER = datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 12, 5, tzinfo=UTC)


async def said(log: InMemoryEventLog) -> list[object]:
    return [recorded.event for recorded in await log.read_stream(f"ev.billing.{ORG}.account.{ORG}")]


async def periods(log: InMemoryEventLog) -> list[str]:
    return [event.period for event in await said(log) if isinstance(event, PeriodOpened)]


@asynccontextmanager
async def billing_at(log: InMemoryEventLog, now: datetime) -> AsyncIterator[None]:
    async with Tail(log) as tail:
        opener = AccountOpener(log, tail, lambda: now, Accounts(log, lambda: now), "free")
        work = [asyncio.create_task(run()) for run in (opener.roll_periods, opener.open_accounts)]
        yield
        for task in work:
            task.cancel()
        await asyncio.wait(work)


async def create(log: InMemoryEventLog) -> None:
    event = OrgCreated(org=ORG, name=Sealed(key=ORG, box="x"), owner="user_01")
    new = NewEvent(event=event, event_id="id", occurred_at=timestamp(NOVEMBER))
    await log.append(f"ev.users.{ORG}.org.{ORG}", [new], expected_position=0)


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
