"""Hosts services: one, or all of an installation, in one process on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import entry_points
from typing import Any, TypeVar

import structlog
from nats.aio.client import Client
from psycopg import AsyncConnection
from psycopg import Error as PostgresError
from psycopg_pool import AsyncConnectionPool

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import Keyring
from remote_claude.access.verifier import Verifier
from remote_claude.concurrency import tasks
from remote_claude.contracts import REGISTRY
from remote_claude.eventsourcing.errors import RightsMissing
from remote_claude.eventsourcing.jetstream import JetStreamEventLog, streams
from remote_claude.eventsourcing.log import EventLogError
from remote_claude.eventsourcing.postgres.effects import OutboxWorker
from remote_claude.eventsourcing.postgres.projector import Projector, ProjectorState
from remote_claude.eventsourcing.postgres.schemas import check_rights
from remote_claude.eventsourcing.tail import Tail
from remote_claude.runtime.agent_output import OutputStream
from remote_claude.runtime.archive import start
from remote_claude.runtime.archive.copier import Copier
from remote_claude.runtime.archive.errors import ArchiveError
from remote_claude.runtime.archive.heads import Heads
from remote_claude.runtime.archive.history import ArchivedHistory
from remote_claude.runtime.archive.trim import remove_limits
from remote_claude.runtime.broker import broker_permissions
from remote_claude.runtime.broker.connection import BrokerError, connect_nats
from remote_claude.runtime.http import server as web
from remote_claude.runtime.http.live_processes import LiveProcesses
from remote_claude.runtime.ids import new_id
from remote_claude.runtime.instruments import observe, observe_outboxes, observed_batches
from remote_claude.runtime.objects import Objects, ObjectsUnusable
from remote_claude.runtime.purpose import Purpose
from remote_claude.runtime.service import Build, Runtime, Service
from remote_claude.runtime.settings import BadSettings, RuntimeSettings
from remote_claude.runtime.settings_sources import resolve
from remote_claude.runtime.telemetry.logs_and_metrics import Metrics, configure_logging
from remote_claude.runtime.telemetry.observed_log import ObservedLog
from remote_claude.runtime.telemetry.tracing import Tracing
from remote_claude.runtime.used_keys import UsedKeyReports

log = structlog.get_logger(__name__)

T = TypeVar("T")

ENTRY_POINTS = "remote_claude.services"
ARCHIVED_S = 5.0
"""How long the archive gets at the end for what was said last."""


@dataclass(frozen=True, slots=True)
class Host:
    """A running process: what it shares, what it runs, and the port it answers on."""

    runtime: Runtime
    services: Sequence[Service]
    port: int


def installed(*names: str) -> list[Build]:
    """The composition roots of the named services, or of all that are installed."""
    found = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    return [found[name].load() for name in names or sorted(found)]


def main(*names: str, once_input_ends: bool = False) -> None:
    """Run the named services, or all that are installed, until SIGTERM or SIGINT."""
    try:
        resolve(os.environ)
        settings = RuntimeSettings.from_environment()
        configure_logging(settings.log_level, as_json=settings.log_json)
        builds = installed(*names)
        if once_input_ends:
            sys.stdin.read()
        run(_serve(builds, settings, "-".join(names) or "services"))
    except KeyboardInterrupt:
        pass
    except (
        ArchiveError, BadSettings, BrokerError, EventLogError, KeyUnusable, ObjectsUnusable, RightsMissing,
    ) as error:  # fmt: skip
        sys.exit(f"{error.code}: {error}")
    except PostgresError as error:
        sys.exit(f"postgres_error: PostgreSQL (RCLAUDE_POSTGRES_DSN) can't be used: {error}")
    except OSError as error:
        if error.filename is None:
            raise
        sys.exit(
            f"system_error: {error.filename} can't be used: {error.strerror}; whose is it, and is there room?"
        )


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run as every process of ours does: on uvloop where there is one, and with few collections of garbage.

    Decoded events are many and in no cycles: by default half the time of decoding them goes to looking for some.
    """
    gc.freeze()  # modules live as long as the process
    gc.set_threshold(50_000, 50, 50)
    gc.enable()
    if sys.platform == "win32":
        return asyncio.run(work)
    import uvloop

    return uvloop.run(work)


async def _serve(builds: Sequence[Build], settings: RuntimeSettings, name: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    up = False

    async def serve() -> None:
        nonlocal up
        async with hosting(builds, settings, os.environ, name=name):
            up = True
            await stop.wait()

    serving = asyncio.create_task(serve())
    await tasks.first_of(serving, stop.wait())
    if stop.is_set() and not up:  # it may wait for a broker or a database, for ever
        await tasks.end(serving)
    else:
        await serving


@contextlib.asynccontextmanager
async def hosting(
    builds: Sequence[Build],
    settings: RuntimeSettings,
    environment: Mapping[str, str],
    *,
    name: str = "services",
) -> AsyncIterator[Host]:
    """Connect, build the services, and run them for as long as the context lasts."""
    async with contextlib.AsyncExitStack() as stack:
        metrics = Metrics(name)
        stack.callback(metrics.close)
        runtime = await stack.enter_async_context(connected(settings, environment, metrics))
        services = [build(runtime) for build in builds]
        await broker_permissions.check(runtime.nats, [s.name for s in services], settings.nats_credentials)
        for service in services:
            for view in service.views:
                runtime.projectors[view.name] = Projector(
                    view, runtime.pool, runtime.log, runtime.tail, on_batch=observed_batches(runtime)
                )
        workers = {
            outbox.view.name: OutboxWorker(
                outbox, runtime.pool, runtime.log, runtime.projectors[outbox.view.name], runtime.clock
            )
            for service in services
            for outbox in service.outboxes
        }
        observe(runtime)
        observe_outboxes(runtime, workers)
        if runtime.archive is not None:
            await stack.enter_async_context(_cancelled_at_exit(keep_running("archive", runtime.archive.run)))
            stack.push_async_callback(_archived, runtime, runtime.archive)
        for service in services:
            if service.on_stop is not None:
                stack.push_async_callback(service.on_stop)

        work: dict[str, Callable[[], Awaitable[None]]] = {
            "verifier": runtime.verifier.run,
            "used keys": UsedKeyReports(runtime.nats, runtime.verifier.keys).run,
        }
        for view_name, projector in runtime.projectors.items():
            work[f"view {view_name}"] = projector.run
        for view_name, worker in workers.items():
            work[f"outbox {view_name}"] = worker.run
        for service in services:
            if service.on_start is not None:
                await service.on_start()
            work |= {f"{service.name} {job}": run for job, run in service.background.items()}
        app = web.application(runtime, services, metrics)
        if settings.rate_limits or settings.public_url:  # others may answer beside it
            names = [service.name for service in services]
            work["live processes"] = LiveProcesses(runtime.pool, names, app.state.rate_limits).run
        for job, run in work.items():
            await stack.enter_async_context(_cancelled_at_exit(keep_running(job, run)))

        server = web.server(
            app,
            settings.http_host,
            settings.http_port,
            trusted_proxies=settings.trusted_proxies,
        )
        serving = asyncio.create_task(server.serve())
        stack.push_async_callback(_stop_serving, server, serving, services)
        while not server.started:
            if serving.done():
                serving.result()
                raise RuntimeError(f"nothing listens on {settings.http_host}:{settings.http_port}")
            await asyncio.sleep(0)
        port = server.servers[0].sockets[0].getsockname()[1]
        log.info("ready to serve", services=[s.name for s in services], port=port)
        yield Host(runtime, services, port)


@contextlib.asynccontextmanager
async def connected(
    settings: RuntimeSettings,
    environment: Mapping[str, str],
    metrics: Metrics,
    purpose: Purpose = Purpose.WORK,
    *,
    patience: float | None = None,
) -> AsyncIterator[Runtime]:
    """What services share, connected and able to read the log; nothing runs in the background yet but the tail.

    `patience` is in seconds how long a broker that is not there is waited for; None is as long as it takes.
    Raises `BrokerError`, `BrokerLostTail`, `LogContradictsArchive` where it would be wrong to work, `LogInMaintenance`.
    """
    async with contextlib.AsyncExitStack() as stack:
        tracing = Tracing.of(environment)
        stack.push_async_callback(asyncio.to_thread, tracing.close)
        client = await connect_nats(settings, patience=patience)
        stack.push_async_callback(_disconnect, client)
        if purpose is Purpose.MAINTAIN:
            await remove_limits(client)
            await streams.ensure_log_streams(client, replicas=settings.replicas)
        else:
            await streams.ensure_log(client, replicas=settings.replicas)
        event_log = JetStreamEventLog(client, REGISTRY)
        stack.push_async_callback(event_log.close)
        pool: AsyncConnectionPool[AsyncConnection[Any]] = AsyncConnectionPool(
            settings.postgres_dsn, kwargs={"autocommit": True}, min_size=1, max_size=20, open=False
        )
        await stack.enter_async_context(pool)
        await pool.wait()  # for a PostgreSQL that is on its way up, as for such a broker
        await event_log.go_back_to(ArchivedHistory(pool, REGISTRY))
        heads = Heads(
            settings.heads or settings.home / "heads", settings.head_key or settings.home / "head_key", now
        )
        if purpose is Purpose.MAINTAIN:
            await stack.enter_async_context(start.maintaining(pool, event_log))
        elif purpose is Purpose.WORK:
            await check_rights(pool)
            await stack.enter_async_context(start.working(pool))
            await start.check(event_log, pool, heads, patience=5.0 if settings.replicas > 1 else 0.0)
        tail = Tail(event_log)
        verifier = Verifier(event_log, tail, now)
        if purpose is not Purpose.MAINTAIN:
            await stack.enter_async_context(tail)
            await verifier.load()
        keyring = Keyring(streams.keys(client), settings.key_source.load)
        yield Runtime(
            settings=settings,
            environment=environment,
            nats=client,
            log=ObservedLog(event_log, tracing),
            stats=event_log.stats,
            tail=tail,
            pool=pool,
            projectors={},
            archive=Copier(pool, tail, heads) if settings.archive else None,
            heads=heads,
            keyring=keyring,
            verifier=verifier,
            objects=Objects(settings.objects, keyring),
            output=OutputStream(client),
            meter=metrics.meter,
            tracing=tracing,
            clock=now,
            new_id=new_id,
        )


async def _disconnect(client: Client) -> None:
    with contextlib.suppress(OSError, RuntimeError):  # a broker that is dead already: uvloop says the latter
        await client.close()


def now() -> datetime:
    """The clock of a real process: UTC."""
    return datetime.now(UTC)


async def keep_running(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run a piece of background work; when it fails say so and start it again, ever more slowly."""
    loop = asyncio.get_running_loop()
    pause = 0.1
    while True:
        started = loop.time()
        try:
            await run()
            log.error("background work ended by itself", work=name)
        except Exception:
            log.exception("background work failed and is started again", work=name, in_seconds=pause)
        pause = 0.1 if loop.time() - started > 30 else min(pause * 2, 5.0)
        await asyncio.sleep(pause)


@contextlib.asynccontextmanager
async def _cancelled_at_exit(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        await tasks.end(task)


async def _archived(runtime: Runtime, archive: Copier) -> None:
    """Archive what the services have said last, if that is this process's work."""
    with contextlib.suppress(EventLogError):
        end = await runtime.log.last_position()
        if archive.state is ProjectorState.LIVE:
            await archive.wait_for(end, ARCHIVED_S)


async def _stop_serving(
    server: web.HttpServer, serving: asyncio.Task[None], services: Sequence[Service]
) -> None:
    server.should_exit = True
    for service in services:
        if service.on_stopping is not None:
            service.on_stopping()
    await serving
