"""The OpenAPI document of a process: what each route declares, and what the edge may answer to any of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Response

from remote_claude.access.permissions import PUBLIC
from remote_claude.edge.models import ProblemDocument, problem

ANY = (429, 503)
"""A rate limit, and a store that does not answer."""
CREDENTIALED = (401, 403, 404)
"""No good credential; one that may not do this; an organisation that is not the person's."""
IN_PATH = (404,)
WITH_BODY = (400, 408, 413)
"""A body that is no text, that stops coming, or that is too large."""
UNUSED = ("HTTPValidationError", "ValidationError")
"""FastAPI's own shapes of a refusal, which this API never answers."""
SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, or an access token of `rclaude login`.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-rclaude",
        "description": "A browser's session; a changing request sends `X-CSRF-Token` too.",
    },
}


def complete(app: FastAPI) -> None:
    """Let the app's document name every answer that its edge gives."""
    declared = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            completed = declared()
            for operation in _operations(completed):
                _complete(operation)
            components = completed.setdefault("components", {})
            schemas = components.setdefault("schemas", {})
            for name in UNUSED:
                schemas.pop(name, None)
            schemas.setdefault("ProblemDocument", ProblemDocument.model_json_schema())
            components["securitySchemes"] = SECURITY_SCHEMES
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way to extend the document


def add_route(app: FastAPI) -> None:
    """Serve the document, made once and in a thread: making it takes seconds, in which nothing else would be answered."""
    making = asyncio.Lock()
    made: list[bytes] = []

    def make() -> bytes:
        return orjson.dumps(app.openapi())

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi_document() -> Response:
        async with making:
            if not made:
                made.append(await asyncio.to_thread(make))
        return Response(made[0], media_type="application/json")


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        yield from item.values()


def _complete(operation: dict[str, Any]) -> None:
    responses: dict[str, Any] = operation["responses"]
    public = operation["operationId"] in PUBLIC
    placed = {parameter["in"] for parameter in operation.get("parameters", ())}
    statuses = {*ANY}
    if public:
        responses.pop("401", None)
    else:
        statuses |= {*CREDENTIALED}
        operation["security"] = [{name: []} for name in SECURITY_SCHEMES]
    if "path" in placed:
        statuses |= {*IN_PATH}
    if "requestBody" in operation:
        statuses |= {*WITH_BODY}
    if "422" in responses:  # FastAPI's, or ours
        responses["422"] = problem(HTTPStatus.UNPROCESSABLE_ENTITY)
    for status in sorted(statuses):
        responses.setdefault(str(status), problem(HTTPStatus(status)))
    operation["responses"] = dict(sorted(responses.items()))
