"""The state as a document, so that a start needs only what has happened since. The log alone is enough."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool
from pydantic import TypeAdapter, ValidationError

from remote_claude.contracts.billing import Entitlements
from remote_claude.contracts.prices import PriceBook
from remote_claude.eventsourcing.postgres.schemas import borrow
from remote_claude.scheduler.domain.state import OrganisationQueue, Runner, SchedulerState
from remote_claude.scheduler.domain.tasks import Assigned, Ended, LiveTask, Queued, Running, Submitted

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTasks:
    """Live tasks by state."""

    submitted: list[Submitted] = field(default_factory=list)
    queued: list[Queued] = field(default_factory=list)
    assigned: list[Assigned] = field(default_factory=list)
    running: list[Running] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)

    @classmethod
    def of(cls, organisation: OrganisationQueue) -> StoredTasks:
        by_type: dict[type[Any], list[Any]] = {s: [] for s in (Submitted, Queued, Assigned, Running, Ended)}
        for task in organisation.tasks.values():
            if not isinstance(task, Queued) or task.cancellation:
                by_type[type(task)].append(task)
        queued = [*by_type[Queued], *organisation.waiting]  # in the order of the queue
        return cls(
            submitted=by_type[Submitted],
            queued=queued,
            assigned=by_type[Assigned],
            running=by_type[Running],
            ended=by_type[Ended],
        )

    def all(self) -> list[LiveTask]:
        return [*self.submitted, *self.queued, *self.assigned, *self.running, *self.ended]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOrganisation:
    """An organisation as it is stored."""

    id: str
    position: int
    plan: str | None
    plan_version: str
    anchor: str
    entitlements: Entitlements | None
    upgrade: str | None = None
    suspended: str | None = None
    price_book: PriceBook | None = None
    reserved: dict[str, int]
    quotas: dict[str, dict[str, int]] = field(default_factory=dict)
    credit: int
    due: list[str]
    tasks: StoredTasks


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRunner:
    """A runner as it is stored; what it holds follows from the tasks."""

    id: str
    provider: str
    pool: str
    slots: int
    vcpu_millis: int
    memory_mib: int
    agents: list[str]
    capabilities: list[str]
    joined: bool
    drained: bool
    only_for: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state at a position. Its parts are immutable, so it can be written while the state moves on."""

    position: int
    event_id: str
    organisations: list[StoredOrganisation]
    runners: list[StoredRunner]
    due: list[str]
    rotation: list[str]

    @classmethod
    def of(cls, state: SchedulerState) -> Snapshot:
        return cls(
            position=state.position,
            event_id=state.event_id,
            organisations=[
                StoredOrganisation(
                    id=o.id,
                    position=o.position,
                    plan=o.plan,
                    plan_version=o.plan_version,
                    anchor=o.anchor,
                    entitlements=o.entitlements,
                    upgrade=o.upgrade,
                    suspended=o.suspended,
                    price_book=o.price_book,
                    reserved=dict(o.reserved),
                    quotas={period: dict(sums) for period, sums in o.quotas.items()},
                    credit=o.credit,
                    due=list(o.due),
                    tasks=StoredTasks.of(o),
                )
                for o in state.organisations.values()
            ],
            runners=[
                StoredRunner(
                    id=r.id,
                    provider=r.provider,
                    pool=r.pool,
                    slots=r.slots,
                    vcpu_millis=r.vcpu_millis,
                    memory_mib=r.memory_mib,
                    agents=sorted(r.agents),
                    capabilities=sorted(r.capabilities),
                    joined=r.joined,
                    drained=r.drained,
                    only_for=r.only_for,
                )
                for r in state.runners.values()
            ],
            due=list(state.due),
            rotation=list(state.rotation),
        )

    def state(self) -> SchedulerState:
        """The state that it was taken of."""
        state = SchedulerState(position=self.position, event_id=self.event_id)
        for r in self.runners:
            state.runners[r.id] = Runner(
                id=r.id,
                provider=r.provider,
                pool=r.pool,
                slots=r.slots,
                vcpu_millis=r.vcpu_millis,
                memory_mib=r.memory_mib,
                agents=frozenset(r.agents),
                capabilities=frozenset(r.capabilities),
                joined=r.joined,
                drained=r.drained,
                only_for=r.only_for,
            )
        for q in self.organisations:
            organisation = state.organisations[q.id] = OrganisationQueue(
                id=q.id,
                position=q.position,
                plan=q.plan,
                plan_version=q.plan_version,
                anchor=q.anchor,
                entitlements=q.entitlements,
                upgrade=q.upgrade,
                suspended=q.suspended,
                price_book=q.price_book,
                reserved=dict(q.reserved),
                quotas={period: dict(sums) for period, sums in q.quotas.items()},
                credit=q.credit,
            )
            for task in q.tasks.all():
                state.replace(None, task)
            organisation.due = dict.fromkeys(q.due)
        state.due = dict.fromkeys(self.due)
        for org in self.rotation:
            state.rotation.move_to_end(org)
        return state


PACKAGE = "remote_claude.scheduler"
SNAPSHOT = TypeAdapter(Snapshot)


@cache
def code_version() -> str:
    """Changes with the code that folds: a snapshot of another version is not read."""
    sources = sorted(
        (file.name, file.read_bytes())
        for file in (files(PACKAGE) / "domain").iterdir()
        if file.name.endswith(".py")
    )
    digest = hashlib.sha256(repr([name for name, _ in sources]).encode())
    for source in (
        *(data for _, data in sources),
        (files(PACKAGE) / "projections" / "snapshots.py").read_bytes(),
    ):
        digest.update(hashlib.sha256(source).digest())
    return digest.hexdigest()[:16]


class Snapshots(Protocol):
    """Where a snapshot is kept."""

    async def load(self) -> SchedulerState | None:
        """The state of the last one, if there is one of this version of the code."""

    async def save(self, state: SchedulerState) -> None:
        """Keep the state as it is now."""

    async def discard(self) -> None:
        """Keep none: the last one is of another log."""


class NoSnapshots:
    """Keeps none: every start reads the whole log."""

    async def load(self) -> SchedulerState | None:
        return None

    async def save(self, state: SchedulerState) -> None:
        pass

    async def discard(self) -> None:
        pass


class PostgresSnapshots:
    """The newest one, in the schema `scheduler`."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[Any]]) -> None:
        self._pool = pool

    async def load(self) -> SchedulerState | None:
        async with borrow(self._pool) as connection, connection.transaction():
            await connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('scheduler.snapshot', 0))"
            )
            await connection.execute("CREATE SCHEMA IF NOT EXISTS scheduler")
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS scheduler.snapshot "
                "(version text PRIMARY KEY, position bigint NOT NULL, state bytea NOT NULL)"
            )
            cursor = await connection.execute(
                "SELECT state FROM scheduler.snapshot WHERE version = %s", [code_version()], binary=True
            )
            row = await cursor.fetchone()
        if row is None:
            return None
        try:
            snapshot = await asyncio.to_thread(SNAPSHOT.validate_json, row[0])
        except ValidationError as error:
            log.warning("the snapshot can't be read: reading the log from the beginning", detail=str(error))
            await self.discard()
            return None
        return snapshot.state()

    async def save(self, state: SchedulerState) -> None:
        snapshot = Snapshot.of(state)
        document = await asyncio.to_thread(SNAPSHOT.dump_json, snapshot)
        async with borrow(self._pool) as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO scheduler.snapshot AS kept (version, position, state) VALUES (%s, %s, %s) "
                "ON CONFLICT (version) DO UPDATE SET position = excluded.position, state = excluded.state "
                "WHERE kept.position < excluded.position",
                [code_version(), snapshot.position, document],
            )
            await connection.execute(
                "DELETE FROM scheduler.snapshot WHERE version <> %s AND position < %s",
                [code_version(), snapshot.position - 1_000_000],
            )

    async def discard(self) -> None:
        async with borrow(self._pool) as connection:
            await connection.execute("DELETE FROM scheduler.snapshot")
