"""Refusals at the edge: RFC 9457 problem documents, mapped in one place."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import psycopg
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from remote_claude.eventsourcing.log import LogUnavailable

log = structlog.get_logger(__name__)

CLIENT_GONE = 499
"""As nginx names it: who asked hung up before the whole request was there."""


class Problem(Exception):
    """An expected refusal: a stable `code`, an HTTP status, and a `detail` that says what to do next."""

    def __init__(self, status: int, code: str, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.extra = status, code, detail, extra

    def document(self) -> dict[str, Any]:
        """The problem document; `type` names the entry of the reference page."""
        title = HTTPStatus(self.status).phrase
        return {
            "type": f"urn:remote-claude:problem:{self.code}",
            "title": title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.extra,
        }


def respond(problem: Problem) -> JSONResponse:
    """The HTTP answer of a refusal."""
    headers = {"WWW-Authenticate": "Bearer"} if problem.status == HTTPStatus.UNAUTHORIZED else None
    return JSONResponse(problem.document(), problem.status, headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Answer every refusal of this app, its own and the framework's, with a problem document."""

    @app.exception_handler(Problem)
    async def refused(_: Request, error: Problem) -> JSONResponse:
        return respond(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        fields = [
            {"field": ".".join(str(part) for part in e["loc"] if part != "body"), "message": e["msg"]}
            for e in error.errors()
        ]
        first = fields[0]
        detail = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
        return respond(Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", detail, errors=fields))

    @app.exception_handler(HTTPException)
    async def framework(_: Request, error: HTTPException) -> JSONResponse:
        code = HTTPStatus(error.status_code).name.lower()
        return respond(Problem(error.status_code, code, str(error.detail)))

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_GONE)  # nobody hears it

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        log.error("a request failed", path=request.url.path, exc_info=error)
        detail = "This is a fault of the server. It is in its log; nothing that was acknowledged is lost."
        return respond(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", detail))

    @app.exception_handler(psycopg.OperationalError)
    @app.exception_handler(psycopg.errors.UndefinedTable)  # a view that is being built
    @app.exception_handler(PoolTimeout)
    async def database_away(_: Request, error: Exception) -> JSONResponse:
        log.warning("the database gave no answer", error=repr(error))
        detail = "The database does not answer. Nothing is lost: ask again in a moment."
        return respond(Problem(HTTPStatus.SERVICE_UNAVAILABLE, "database_unavailable", detail))

    @app.exception_handler(LogUnavailable)
    async def unavailable(_: Request, error: LogUnavailable) -> JSONResponse:
        log.warning("the event log gave no answer", detail=str(error))
        detail = "The event log does not answer. Nothing is known to be lost: send the request again with the same Idempotency-Key."
        return respond(Problem(HTTPStatus.SERVICE_UNAVAILABLE, "log_unavailable", detail))
