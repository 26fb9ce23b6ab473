"""Routes of the hot path: declared as any other, called without FastAPI's solver and serialiser.

Those take longer than the endpoint itself. FastAPI reads the same signature for the OpenAPI document, and everything in
front of the route is the same: authentication, limits, refusals.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, get_args

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends, Query
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from remote_claude.edge.identity import caller
from remote_claude.gateway.api.edge import task_id

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Make = Callable[[Request], Awaitable[Any]]


class ThinRoute(APIRoute):
    """Makes an endpoint's arguments itself: the request, `Caller`, `TaskId`, and one model of all query parameters.

    The endpoint returns a `Response`, or a model that becomes its body.
    """

    def get_route_handler(self) -> Handler:
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
        if isinstance(one, Depends) and one.dependency is task_id:
            return _task_id
        if isinstance(one, Query) and issubclass(kind, BaseModel):
            return _query(kind)
    raise TypeError(f"a thin route has no argument of the type {annotation}")


async def _request(request: Request) -> Request:
    return request


async def _task_id(request: Request) -> str:
    return await task_id(request.path_params["task"])


def _query(model: type[BaseModel]) -> Make:
    nothing = model()

    async def make(request: Request) -> BaseModel:
        if not request.scope["query_string"]:
            return nothing
        try:
            return model.model_validate(dict(request.query_params))
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=False, include_input=False)
            raise RequestValidationError([{**e, "loc": ("query", *e["loc"])} for e in errors]) from error

    return make
