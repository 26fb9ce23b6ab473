"""Routes of the hot path: declared as any other, called without FastAPI's router, solver and serialiser.

Those take longer than the endpoint itself. FastAPI reads the same signature for the OpenAPI document, and everything in
front of the router is the same: names, limits, metrics, traces, the bound of the body. So are refusals.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, get_args

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends, Query
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from remote_claude.edge.caller import caller

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Make = Callable[[Request], Awaitable[Any]]


class ThinRoute(APIRoute):
    """Makes an endpoint's arguments itself: the request, `Caller`, checked path parameters, and one model of the query.

    A checked path parameter is a `Depends` on a coroutine function with that parameter as its only argument.

    The endpoint returns a `Response`, or a model that becomes its body.
    """

    def get_route_handler(self) -> Handler:
        """What answers a request: Starlette calls it behind its router, `ThinRoutes` before."""
        signature = inspect.signature(self.endpoint, eval_str=True)
        made = [(name, _maker(parameter.annotation)) for name, parameter in signature.parameters.items()]
        endpoint, status = self.endpoint, self.status_code or 200

        async def handle(request: Request) -> Response:
            found = await endpoint(**{name: await make(request) for name, make in made})
            if isinstance(found, Response):
                return found
            return Response(found.model_dump_json(), status, media_type="application/json")

        return handle


def _maker(annotation: Any) -> Make:
    if annotation is Request:
        return _request
    kind, *declared = get_args(annotation)
    for one in declared:
        if isinstance(one, Depends) and one.dependency is caller:
            return caller
        if isinstance(one, Depends) and inspect.iscoroutinefunction(one.dependency):
            return _in_path(one.dependency)
        if isinstance(one, Query) and issubclass(kind, BaseModel):
            return _query(kind)
    raise TypeError(f"a thin route has no argument of the type {annotation}")


async def _request(request: Request) -> Request:
    return request


def _in_path(check: Callable[[str], Awaitable[str]]) -> Make:
    [name] = inspect.signature(check).parameters

    async def make(request: Request) -> str:
        return await check(request.path_params[name])

    return make


def _query(model: type[BaseModel]) -> Make:
    nothing = model()

    async def make(request: Request) -> BaseModel:
        if not request.scope["query_string"]:
            return nothing
        try:
            return model.model_validate(dict(request.query_params))
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False)
            raise RequestValidationError([{**e, "loc": ("query", *e["loc"])} for e in errors]) from error

    return make


class ThinRoutes:
    """ASGI middleware, innermost: calls thin routes, and leaves every other request to the app's router."""

    def __init__(self, app: ASGIApp, *, owner: FastAPI, routes: Iterable[APIRoute]) -> None:
        self._app, self._owner = app, owner
        self._exact: dict[tuple[str, str], tuple[APIRoute, Handler]] = {}
        self._patterns: list[tuple[str, APIRoute, Handler]] = []
        for route in routes:
            if isinstance(route, ThinRoute):
                for method in route.methods or ():
                    found = route, route.get_route_handler()
                    if "{" in route.path:
                        self._patterns.append((method, *found))
                    else:
                        self._exact[method, route.path] = found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._find(scope) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        scope["route"], handle, scope["path_params"] = found
        request = Request(scope, receive, send)
        try:
            response = await handle(request)
        except Exception as error:
            response = await self._refusal(request, error)
        await response(scope, receive, send)

    def _find(self, scope: Scope) -> tuple[APIRoute, Handler, dict[str, str]] | None:
        method, path = scope["method"], scope["path"]
        if (exact := self._exact.get((method, path))) is not None:
            return (*exact, {})
        for accepted, route, handle in self._patterns:
            if accepted == method and (match := route.path_regex.match(path)):
                return route, handle, match.groupdict()
        return None

    async def _refusal(self, request: Request, error: Exception) -> Response:
        """As the app answers this error."""
        handlers = self._owner.exception_handlers
        handler: Any = next(handlers[kind] for kind in type(error).__mro__ if kind in handlers)
        response: Response = await handler(request, error)
        return response
