"""Every request is counted and timed, under the names of OpenTelemetry's semantic conventions for HTTP servers."""

from __future__ import annotations

import time

from opentelemetry.metrics import Meter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SERVER_ERROR = 500
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


class MeasuredRequests:
    """ASGI middleware. A request's route is its pattern, such as `/v1/tasks/{task}`; empty where none matches."""

    def __init__(self, app: ASGIApp, meter: Meter) -> None:
        self._app = app
        self._duration = meter.create_histogram(
            "http.server.request.duration",
            unit="s",
            description="Time to answer a request, by method, route and status.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self._active = meter.create_up_down_counter(
            "http.server.active_requests", description="Requests that are being answered."
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        status, started = SERVER_ERROR, time.perf_counter()

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._active.add(1, {"http.request.method": method})
        try:
            await self._app(scope, receive, sent)
        finally:
            self._active.add(-1, {"http.request.method": method})
            self._duration.record(
                time.perf_counter() - started,
                {
                    "http.request.method": method,
                    "http.response.status_code": status,
                    "http.route": getattr(scope.get("route"), "path", ""),
                },
            )
