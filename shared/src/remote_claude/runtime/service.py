"""What a service is made of, and what it is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter
from nats.aio.client import Client
from opentelemetry.metrics import Meter
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from remote_claude.access.keyring import Keyring
from remote_claude.access.verifier import Verifier
from remote_claude.eventsourcing.events import Clock
from remote_claude.eventsourcing.log import EventLog
from remote_claude.eventsourcing.postgres.effects import Outbox
from remote_claude.eventsourcing.postgres.projector import Projector
from remote_claude.eventsourcing.stats import LogStats
from remote_claude.eventsourcing.tail import Tail
from remote_claude.eventsourcing.views import View
from remote_claude.runtime.agent_output import OutputStream
from remote_claude.runtime.archive.copier import Copier
from remote_claude.runtime.archive.heads import Heads
from remote_claude.runtime.ids import NewId
from remote_claude.runtime.objects import Objects
from remote_claude.runtime.settings import RuntimeSettings
from remote_claude.runtime.telemetry.tracing import Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Everything that services of one process share. `build` takes from it what its service needs."""

    settings: RuntimeSettings
    environment: Mapping[str, str]
    nats: Client
    log: EventLog
    stats: LogStats
    """What the log has counted in this process."""
    tail: Tail
    pool: AsyncConnectionPool[AsyncConnection[Any]]
    projectors: dict[str, Projector]
    """By view name; filled by the host before any service's background work starts."""
    archive: Copier | None
    """None where this process leaves the archive to others."""
    heads: Heads
    keyring: Keyring
    verifier: Verifier
    objects: Objects
    output: OutputStream
    meter: Meter
    tracing: Tracing
    clock: Clock
    new_id: NewId


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service, wired: what the host runs.

    `on_start` runs once the log can be read and before anything else of the service; it may append.
    `on_stopping` is called when the process begins to stop, while requests are still answered: it ends their waits.
    `outboxes` are worked in the process that applies their views.
    `background` are coroutines that run until they are cancelled; one that ends or raises is started again.
    `ready` returns None, or why the service can't do its work at the moment.
    `status` is shown by `/v1/status`.
    `bounds_bodies` are prefixes of paths whose routes bound their bodies themselves.
    `fallback` is mounted behind every router of the process (the gateway's proxy).
    """

    name: str
    router: APIRouter | None = None
    views: Sequence[View] = ()
    outboxes: Sequence[Outbox] = ()
    on_start: Callable[[], Awaitable[None]] | None = None
    background: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    on_stopping: Callable[[], None] | None = None
    on_stop: Callable[[], Awaitable[None]] | None = None
    ready: Callable[[], str | None] = lambda: None
    status: Callable[[], Mapping[str, Any]] = dict
    bounds_bodies: Sequence[str] = ()
    fallback: APIRouter | None = None


Build = Callable[[Runtime], Service]
"""The composition root of a service, found through the entry point group `remote_claude.services`."""
