"""The books of a seller: an event log, billing on top of it, and a clock that a test sets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from event_examples import WINDOW
from event_logs import until
from remote_claude.access.keyring import Keyring
from remote_claude.billing.domain.account import Account
from remote_claude.billing.handlers import Accounts
from remote_claude.billing.invoice_issuing import InvoiceIssuer
from remote_claude.billing.invoices import Invoices
from remote_claude.billing.projections.caught_up import caught_up
from remote_claude.billing.projections.issued import InvoicesView
from remote_claude.billing.projections.mail import MailView
from remote_claude.billing.projections.payments import PaymentsView
from remote_claude.billing.projections.usage import UsageView
from remote_claude.contracts import EVENTS, REGISTRY, Event
from remote_claude.contracts.billing import InvoiceIssued
from remote_claude.contracts.periods import period_at
from remote_claude.contracts.runner import Cumulative, TaskStarted, UsageRecorded
from remote_claude.contracts.scheduler import Admission, TaskAdmitted
from remote_claude.eventsourcing.events import NewEvent, new_event_id, timestamp
from remote_claude.eventsourcing.memory import InMemoryEventLog
from remote_claude.eventsourcing.postgres.projector import Projector
from remote_claude.eventsourcing.tail import Tail
from remote_claude.runtime.objects import Objects
from scheduling import Newer
from simulator.network import Broker, SimulatedBucket

Pool = AsyncConnectionPool[AsyncConnection[Any]]


@dataclass
class Books:
    """`now` is the time. What is recorded lands in the log at that time."""

    pool: Pool
    folder: Path
    now: datetime = datetime(2026, 11, 1, tzinfo=UTC)
    log: InMemoryEventLog = field(default_factory=lambda: InMemoryEventLog(REGISTRY))
    tasks: int = 0

    def __post_init__(self) -> None:
        bucket: Any = SimulatedBucket(Broker(Newer(EVENTS.values()), Random(1)), "billing")
        self.keyring = Keyring(bucket, bytes(32), random=Random(2).randbytes)
        self.objects = Objects(str(self.folder), self.keyring)
        self.accounts = Accounts(self.log, lambda: self.now)
        self.invoices = Invoices(self.log, self.pool, self.objects, lambda: self.now, self.keyring)
        self.issuer = InvoiceIssuer(self.invoices, self.log, self.pool, lambda: self.now)

    async def record(self, *events: Event) -> None:
        """Append events to where their producer keeps them."""
        for event in events:
            about = event.model_dump()
            org = about.get("org", "_")
            id = (
                f"{about['task']}-{about['attempt']}"
                if event.aggregate == "attempt"
                else about.get("webhook", org)
            )
            stream = f"ev.{event.producer}.{org}.{event.aggregate}.{id}"
            last = await self.log.read_stream(stream)
            new = NewEvent(event=event, event_id=new_event_id(), occurred_at=timestamp(self.now))
            await self.log.append(stream, [new], expected_position=last[-1].position if last else 0)

    async def run_task(self, org: str, vcpu_ms: int = 0, nano_usd: int = 0, task: str | None = None) -> str:
        """A task that is admitted, starts, and uses so much; its id."""
        self.tasks += 1
        task = task or f"task_{self.tasks:04}"
        anchor = (await self.account(org)).anchor
        admission = Admission(period=period_at(anchor, self.now).id, plan_version="1", reservations=())
        await self.record(TaskAdmitted(org=org, task=task, admission=admission))
        await self.record(TaskStarted(org=org, task=task, attempt=1, runner="runner_1"))
        await self.use(org, task, 1, vcpu_ms, nano_usd)
        return task

    async def use(
        self, org: str, task: str, sequence: int, vcpu_ms: int, nano_usd: int = 0, at: datetime | None = None
    ) -> None:
        """A cumulative sample of a task's first attempt, measured now or at another time."""
        window = WINDOW | {"measured_to": timestamp(at or self.now)}
        used = Cumulative(vcpu_ms=vcpu_ms, model_nano_usd=nano_usd)
        sample = UsageRecorded(
            org=org, task=task, attempt=1, runner="runner_1", sequence=sequence, cumulative=used, **window
        )
        await self.record(sample)

    async def account(self, org: str) -> Account:
        return await self.invoices.account(org)

    async def close(self, org: str, *, early: bool = False) -> list[InvoiceIssued]:
        return await self.issuer.close(org, early=early)

    async def document(self, org: str, sha256: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.invoices.stored(org, sha256))
        return found

    async def read(self) -> None:
        """Wait until the views hold what the log holds."""
        for view in (UsageView.name, InvoicesView.name, MailView.name):
            await caught_up(self.log, self.pool, view)


def is_live(projector: Projector) -> Callable[[], Awaitable[bool]]:
    async def live() -> bool:
        return projector.state == "live"

    return live


@contextlib.asynccontextmanager
async def books(dsn: str, folder: Path) -> AsyncIterator[Books]:
    """Empty books, with billing's views following their log."""
    async with AsyncConnectionPool(dsn, min_size=1, max_size=6, open=False) as pool:
        made = Books(pool, folder)
        async with Tail(made.log) as tail:
            projectors = [
                Projector(view, pool, made.log, tail)
                for view in (UsageView(), InvoicesView(), PaymentsView(), MailView())
            ]
            work = [asyncio.create_task(one.run()) for one in projectors]
            try:
                for one in projectors:
                    await until(is_live(one))
                yield made
            finally:
                for task in work:
                    task.cancel()
                await asyncio.wait(work)
