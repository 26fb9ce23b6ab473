"""The composition root of the gateway."""

from __future__ import annotations

import httpx2
from fastapi import APIRouter

from remote_claude.access.plans import Plans
from remote_claude.edge.freshness import Freshness
from remote_claude.gateway import dashboard
from remote_claude.gateway.api import (
    batches,
    blobs,
    output,
    proxy,
    schedules_and_triggers,
    shares,
    stream,
    tasks,
)
from remote_claude.gateway.api import webhooks as webhooks_api
from remote_claude.gateway.api.batch_handlers import Batches
from remote_claude.gateway.api.output import Results
from remote_claude.gateway.api.reading import TaskReading
from remote_claude.gateway.api.schedule_and_trigger_handlers import Starters
from remote_claude.gateway.api.stream import Stream
from remote_claude.gateway.api.submissions import Submissions
from remote_claude.gateway.consumers import LogConsumer, OutputConsumer
from remote_claude.gateway.content_removal import ContentRemoval
from remote_claude.gateway.domain.offers import Offers
from remote_claude.gateway.domain.policies import Policies
from remote_claude.gateway.handlers import Decisions, TaskHandlers, WebhookHandlers
from remote_claude.gateway.live_tasks import LiveTasks
from remote_claude.gateway.month_budgets import MonthBudgets
from remote_claude.gateway.projections.batches import BatchesView
from remote_claude.gateway.projections.contents import ContentsView
from remote_claude.gateway.projections.output_frames import OutputHistory
from remote_claude.gateway.projections.queries import TaskQueries
from remote_claude.gateway.projections.shares import SharesView
from remote_claude.gateway.projections.starters import StartersView
from remote_claude.gateway.projections.tasks import TasksView
from remote_claude.gateway.projections.webhooks import WebhooksView
from remote_claude.gateway.settings import GatewaySettings
from remote_claude.gateway.sockets import Sockets
from remote_claude.gateway.waiting_reasons import WaitingReasons
from remote_claude.gateway.watchers import Watchers
from remote_claude.gateway.webhook_deliveries import outbox
from remote_claude.runtime.service import Runtime, Service


def build(runtime: Runtime) -> Service:
    """Wire the gateway to what its process shares."""
    settings = GatewaySettings.from_environment(runtime.environment)
    queries = TaskQueries(
        runtime.pool, runtime.tail, lambda: runtime.projectors[TasksView.name], settings.position_wait_s
    )
    history = OutputHistory(runtime.objects, runtime.output)
    offers, policies, decisions = Offers(), Policies(), Decisions()
    plans = Plans(runtime.log, runtime.clock)
    handlers = TaskHandlers(
        runtime.log,
        decisions,
        queries,
        runtime.clock,
        admission_wait_s=settings.admission_wait_s,
        log_wait_s=settings.log_wait_s,
    )
    submissions = Submissions(runtime, offers, policies, MonthBudgets(runtime.nats), handlers, queries)
    live = LiveTasks(queries, wait_s=settings.position_wait_s)
    watchers = Watchers(
        live,
        history,
        runtime.clock,
        wait_s=settings.position_wait_s,
        ring_bytes=settings.ring_kib * 1024,
    )
    sockets = Sockets(settings, runtime.verifier, runtime.tail, watchers)
    consumer = LogConsumer(
        runtime.log, runtime.tail, decisions, offers, policies, live, watchers, sockets, plans
    )
    fresh = Freshness(
        runtime.tail,
        lambda: runtime.projectors[TasksView.name],
        recorded=lambda: decisions.position,
        stale_after_s=settings.stale_after_s,
        wait_s=settings.position_wait_s,
    )

    api = APIRouter()
    reasons = WaitingReasons(runtime.nats)
    reading = TaskReading(runtime.keyring, fresh, queries, live, reasons, plans)
    tasks.add_routes(api, runtime, fresh, submissions, handlers, queries, reading, offers, reasons)
    results = Results(history, runtime.objects)
    output.add_routes(api, fresh, queries, results, runtime.objects, runtime.log)
    shares.add_routes(api, runtime, queries, results)
    blobs.add_routes(api, settings, runtime.objects)
    webhooks_api.add_routes(
        api,
        runtime,
        WebhookHandlers(runtime.log, runtime.keyring, runtime.clock),
        queries,
        Freshness(runtime.tail, lambda: runtime.projectors[WebhooksView.name]),
    )
    dashboard.add_routes(api)
    starting = Starters(runtime, submissions, queries)
    schedules_and_triggers.add_routes(api, runtime, starting)
    batching = Batches(runtime, submissions, handlers)
    batches.add_routes(
        api,
        runtime,
        Freshness(runtime.tail, lambda: runtime.projectors[BatchesView.name]),
        queries,
        batching,
    )
    stream.add_routes(api, Stream(settings, runtime.verifier, runtime.tail, watchers, sockets))

    webhooks = outbox(runtime, settings)
    client = httpx2.AsyncClient(timeout=proxy.TIMEOUT, follow_redirects=False) if settings.routes else None

    async def stop() -> None:
        if client is not None:
            await client.aclose()

    return Service(
        name="gateway",
        router=api,
        views=(TasksView(), webhooks.view, StartersView(), BatchesView(), SharesView(), ContentsView()),
        outboxes=(webhooks,),
        on_start=consumer.load,
        on_stopping=live.stop,
        on_stop=stop,
        background={
            "log": consumer.run,
            "output": OutputConsumer(runtime.output, watchers).run,
            "sockets": sockets.watch_over,
            "schedules": starting.run,
            "batches": batching.run,
            "retention": ContentRemoval(runtime.log, runtime.pool, runtime.objects, runtime.clock).run,
        },
        status=lambda: {
            "agents": offers.agents,
            "sockets": len(sockets),
            "watches": len(watchers),
            "live_tasks": len(live),
            "waits": live.waits,
        },
        bounds_bodies=("/v1/blobs/", "/v1/batches"),
        fallback=proxy.router(settings.routes, client) if client is not None else None,
    )
