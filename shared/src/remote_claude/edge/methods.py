"""Methods of a path: `HEAD` wherever `GET` is, and the `Allow` of a refusal of any other."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send


class Methods:
    """The methods of every path of some routes."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._paths: list[tuple[re.Pattern[str], frozenset[str]]] = [
            (context.path_regex, frozenset(context.methods))
            for context in iter_route_contexts(routes)
            if context.methods
        ]

    def of(self, path: str) -> list[str]:
        """What may be asked of a path; `HEAD` where `GET` is."""
        found = {method for regex, methods in self._paths if regex.match(path) for method in methods}
        return sorted(found | ({"HEAD"} if "GET" in found else set()))

    def declares_head(self, path: str) -> bool:
        """Whether a route of its own answers `HEAD`."""
        return any("HEAD" in methods for regex, methods in self._paths if regex.match(path))


class HeadAsGet:
    """ASGI middleware: `HEAD` is answered as `GET` is; the server leaves the body out."""

    def __init__(self, app: ASGIApp, methods: Methods) -> None:
        self._app, self._methods = app, methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        if not is_head or self._methods.declares_head(scope["path"]):
            await self._app(scope, receive, send)
            return
        as_get = {**scope, "method": "GET"}  # the server goes by its own
        try:
            await self._app(as_get, receive, send)
        finally:
            scope["route"] = as_get.get("route")
