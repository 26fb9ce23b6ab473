"""The HTTP face of a process: its services' routers, and what every process answers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.routing import APIRoute

from remote_claude.edge import connections, openapi, problems
from remote_claude.edge.bodies import BodyLimit
from remote_claude.edge.caller import Caller
from remote_claude.edge.connections import Connections
from remote_claude.edge.freshness import STALE_AFTER_S
from remote_claude.edge.headers import Outermost, hosts_of
from remote_claude.edge.methods import HeadAsGet, Methods
from remote_claude.edge.open_sockets import OpenSockets
from remote_claude.edge.rate_limits import RateLimits
from remote_claude.edge.thin import ThinRoute, ThinRoutes
from remote_claude.edge.websocket_frames import FramesProtocol
from remote_claude.runtime.http import parked
from remote_claude.runtime.http.measured_requests import MeasuredRequests
from remote_claude.runtime.http.traced_requests import TracedRequests
from remote_claude.runtime.service import Runtime, Service
from remote_claude.runtime.telemetry.logs_and_metrics import Metrics

VERSION = version("remote-claude-shared")
LOG = "log"
"""What `/readyz` calls the event log among the services."""
SILENT_S = STALE_AFTER_S
BROKER = "broker"
"""What it calls a broker that does not answer."""
KEEP_ALIVE_S = 75
"""Longer than clients keep a connection that they do not use: a request never meets a connection that is being closed."""
STALLED_S = 5.0
"""So long a broker may be silent while it changes its leader, or is slow."""


def application(runtime: Runtime, services: Sequence[Service], metrics: Metrics) -> FastAPI:
    """The app of one process."""
    settings = runtime.settings
    app = FastAPI(
        title="Remote Claude",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # `openapi.add_route` serves it
        generate_unique_id_function=_operation,
    )
    app.state.verifier = runtime.verifier
    app.state.keyring = runtime.keyring
    app.state.public_url = settings.public_url
    app.state.rate_limits = RateLimits.of(settings.rate_limits)
    app.state.open_sockets = OpenSockets(settings.max_sockets)

    def unready() -> dict[str, str]:
        reasons = {s.name: reason for s in services if (reason := s.ready() or _views_unready(runtime, s))}
        reasons |= {LOG: problem} if (problem := _log_problem(runtime)) else {}
        return reasons | ({BROKER: silent} if (silent := _silent(runtime)) else {})

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> JSONResponse:
        reasons = unready()
        return JSONResponse(
            {"status": "not ready" if reasons else "ready", "reasons": reasons}, 503 if reasons else 200
        )

    @app.get("/metrics", include_in_schema=False)
    async def scrape() -> Response:
        return PlainTextResponse(metrics.page(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/status", tags=["operations"])
    async def status(_: Caller) -> dict[str, Any]:
        """What runs in this process, how far its views are, and what it can do."""
        reasons = unready()
        return {
            "version": VERSION,
            "position": runtime.tail.position,
            "log": {"state": "stalled" if LOG in reasons else "ready", "reason": reasons.get(LOG)},
            "archive": _archive(runtime),
            "services": {s.name: _status(runtime, s, reasons.get(s.name)) for s in services},
        }

    parked.add_routes(app, runtime, services)
    for service in services:
        if service.router is not None:
            _mount(app, service.router)
    methods = Methods(app.routes)  # but for the gateway's proxy, which takes every path
    thin = [route for s in services if s.router is not None for route in s.router.routes]
    app.add_middleware(
        ThinRoutes, owner=app, routes=[route for route in thin if isinstance(route, ThinRoute)]
    )
    app.add_middleware(BodyLimit, bounded_by_route=[path for s in services for path in s.bounds_bodies])
    app.add_middleware(HeadAsGet, methods=methods)
    app.add_middleware(TracedRequests, tracing=runtime.tracing)
    app.add_middleware(MeasuredRequests, meter=metrics.meter)
    app.add_middleware(
        Outermost,
        hosts=hosts_of(settings.http_host, settings.public_url),
        limits=app.state.rate_limits,
        https=settings.public_url.startswith("https:"),
    )
    problems.install(app, methods.of)
    openapi.complete(app)
    openapi.add_route(app)
    for service in services:
        if service.fallback is not None:
            app.include_router(service.fallback)
    return app


def _mount(app: FastAPI, router: APIRouter) -> None:
    """Serve a router's own routes; `include_router` would build each of them a second time."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            route.unique_id = route.operation_id or _operation(route)
        app.router.routes.append(route)


def _log_problem(runtime: Runtime) -> str | None:
    seconds = runtime.stats.unanswered_s()
    if seconds < STALLED_S:
        return None
    return f"the broker has taken no event for {seconds:.0f} s: is its disk full? Its log says"


def _silent(runtime: Runtime) -> str | None:
    seconds = runtime.tail.age
    if seconds < SILENT_S:
        return None
    return f"the broker has sent nothing for {seconds:.0f} s: does it run, and can it be reached?"


def _views_unready(runtime: Runtime, service: Service) -> str | None:
    for view in service.views:
        projector = runtime.projectors[view.name]
        if projector.state not in ("live", "standby"):
            why = f": {projector.reason}" if projector.reason else ""
            return f"the view {view.name} is {projector.state}{why}"
    return None


def _status(runtime: Runtime, service: Service, reason: str | None) -> Mapping[str, Any]:
    return {
        "state": "not ready" if reason else "ready",
        "reason": reason,
        "views": {
            view.name: {"position": p.position, "lag": p.lag, "state": p.state}
            for view in service.views
            if (p := runtime.projectors[view.name])
        },
        **service.status(),
    }


def _archive(runtime: Runtime) -> Mapping[str, Any] | None:
    if (archive := runtime.archive) is None:
        return None
    return {
        "position": archive.position,
        "lag": archive.lag,
        "state": archive.state,
        "reason": archive.reason,
    }


def _operation(route: Any) -> str:
    return re.sub(r"_+", "_", str(route.name))


class HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers: the host decides when to stop, and what stops after the last request."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(
    app: FastAPI,
    host: str,
    port: int,
    limits: connections.ConnectionLimits | None = None,
    trusted_proxies: str = "127.0.0.1",
) -> HttpServer:
    """A server for one process; it keeps what is in flight for at most five seconds when it stops."""
    limits = limits or connections.ConnectionLimits(
        connections.most_connections(connections.raise_file_limit())
    )
    counted = Connections(limits)
    return HttpServer(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=connections.protocol(counted),
            backlog=connections.BACKLOG,
            forwarded_allow_ips=trusted_proxies,
            timeout_keep_alive=KEEP_ALIVE_S,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=5,
            ws=FramesProtocol,
            ws_max_size=1024 * 1024,
            ws_per_message_deflate=False,  # one frame goes to many sockets, and would be compressed for each
        )
    )
