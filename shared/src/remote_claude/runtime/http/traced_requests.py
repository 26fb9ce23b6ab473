"""Every request of the API is a span: below the client's `traceparent`, or at the head of a trace of its own."""

from __future__ import annotations

import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from remote_claude.eventsourcing import traces
from remote_claude.runtime.telemetry.tracing import Tracing, new_span_id, received

SERVER_ERROR = 500


class TracedRequests:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app, self._tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        header = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
        parent = received(header.decode("latin-1") if header is not None else None)
        here = traces.child(parent, new_span_id()) if parent is not None else self._tracing.begin()
        before, started, status = traces.current.set(here), time.time_ns(), SERVER_ERROR

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sent if self._tracing.exporting else send)
        finally:
            traces.current.reset(before)
            if self._tracing.exporting:
                self._record(scope, here, parent, started, status)

    def _record(self, scope: Scope, here: str, parent: str | None, started: int, status: int) -> None:
        route = scope.get("route")
        path = getattr(route, "path", None)
        attributes: dict[str, str | int | bool] = {
            "http.request.method": scope["method"],
            "http.response.status_code": status,
        }
        if path is not None:
            attributes["http.route"] = path
        self._tracing.record(
            _service(route),
            f"{scope['method']} {path or ''}".rstrip(),
            here,
            traces.span_id(parent) if parent is not None else None,
            started,
            attributes=attributes,
            error=f"status {status}" if status >= SERVER_ERROR else None,
            kind="server",
        )


def _service(route: Any) -> str:
    """The service whose route it is: one process may host several."""
    module = getattr(getattr(route, "endpoint", None), "__module__", "")
    return module.split(".")[1] if module.startswith("remote_claude.") else "http"
