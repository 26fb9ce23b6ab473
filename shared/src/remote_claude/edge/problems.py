"""Refusals at the edge: RFC 9457 problem documents. Every error becomes an HTTP answer here, and only here."""

from __future__ import annotations

import errno
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar

import psycopg
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from nats.errors import Error as NatsError
from obstore.exceptions import BaseError as ObjectStoreError
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased
from remote_claude.contracts.refusals import Refusal
from remote_claude.edge.html import refused
from remote_claude.edge.invalid_fields import words
from remote_claude.eventsourcing.log import LogUnavailable

log = structlog.get_logger(__name__)

CLIENT_GONE = 499
"""As nginx names it: the client hung up before its whole request had arrived."""
RETRY_AFTER_S = "1"

VIEW_BUILDING = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSchemaName,
)
"""What is raised while a view is not there yet, or is there as an earlier release built it."""
DATABASE_AWAY = (psycopg.OperationalError, PoolTimeout)
"""What is raised while PostgreSQL does not answer."""
UNAVAILABLE = (*DATABASE_AWAY, *VIEW_BUILDING, NatsError, ObjectStoreError, LogUnavailable)
"""What the clients of the stores raise while a store does not answer."""


WHAT_TO_DO = {
    400: "The body can't be read as text. Send JSON in UTF-8.",
    404: "There is nothing at this path. `GET /openapi.json` lists what there is.",
    405: "This path has no such method. `Allow` lists those that it has.",
}
"""Sentences for what the framework itself refuses."""


class Problem(Refusal):
    """A refusal that is made at the edge itself: code and status belong to the instance."""

    def __init__(self, status: int, code: str, detail: str, **extra: Any) -> None:
        super().__init__(detail, **extra)
        self.status, self.code = status, code  # type: ignore[misc]  # of this instance, not of the class


class ViewBuilding(Refusal):
    """A view is not there yet."""

    code: ClassVar[str] = "view_building"
    status: ClassVar[int] = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after: ClassVar[str] = "5"

    def __init__(self) -> None:
        super().__init__(
            "What this answer is read from is still being built from the event log. Ask again in a few seconds."
        )


FULL = Problem(
    HTTPStatus.INSUFFICIENT_STORAGE,
    "storage_full",
    "The server has no room for this, and kept nothing of it. Its operator has to make room; then send it again.",
)
ERASED = Problem(HTTPStatus.GONE, KeyErased.code, "This organisation's data has been erased.")
KEY_UNUSABLE = Problem(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    KeyUnusable.code,
    "The operator has to put the key-encryption key back that this installation began with.",
)


def document(refusal: Refusal) -> dict[str, Any]:
    """The problem document of a refusal; `type` names the entry of the reference page."""
    return {
        "type": f"urn:remote-claude:problem:{refusal.code}",
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "code": refusal.code,
        "detail": refusal.detail,
        **refusal.extra,
    }


def respond(refusal: Refusal) -> JSONResponse:
    """The HTTP answer of a refusal. One that may pass soon says when to ask again."""
    headers = {}
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        headers["Retry-After"] = str(getattr(refusal, "retry_after", RETRY_AFTER_S))
    return JSONResponse(document(refusal), refusal.status, headers, media_type="application/problem+json")


def is_page(request: Request) -> bool:
    """Whether a browser asks for something to show in a tab, so that a person reads the answer."""
    return request.headers.get("sec-fetch-dest") == "document"


def unavailable(error: Exception) -> Refusal:
    """What is answered for one of `UNAVAILABLE`."""
    if isinstance(error, LogUnavailable):
        detail = (
            "The event log does not answer. Nothing is known to be lost: send the request again with the same "
            "Idempotency-Key."
        )
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "log_unavailable", detail)
    if isinstance(error, VIEW_BUILDING):
        return ViewBuilding()
    code, what = "broker_unavailable", "broker"
    if isinstance(error, DATABASE_AWAY):
        code, what = "database_unavailable", "database"
    elif isinstance(error, ObjectStoreError):
        code, what = "objects_unavailable", "object store"
    detail = f"The {what} does not answer. Nothing is lost: ask again in a moment."
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, code, detail)


def refusal_of(error: Exception) -> Refusal | None:
    """The refusal that an error becomes; None for a fault of the server."""
    match error:
        case Refusal():
            return error
        case RequestValidationError():
            return _invalid(error)
        case HTTPException():
            found: Refusal | None = getattr(error, "problem", None)
            code = HTTPStatus(error.status_code).name.lower()
            return found or Problem(
                error.status_code, code, WHAT_TO_DO.get(error.status_code, str(error.detail))
            )
        case KeyErased():
            return ERASED
        case KeyUnusable():
            log.error("a text can't be opened", error=str(error))
            return KEY_UNUSABLE
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT):
            log.error("a disk is full", error=str(error))
            return FULL
        case _ if isinstance(error, UNAVAILABLE):
            problem = unavailable(error)
            log.warning("a store gave no answer", code=problem.code, error=repr(error))
            return problem
    return None


HANDLED = (Refusal, RequestValidationError, HTTPException, KeyErased, KeyUnusable, OSError, *UNAVAILABLE)


def install(app: FastAPI, allowed: Callable[[str], list[str]]) -> None:
    """Answer every error of this app, its own and the framework's, with a problem document.

    `allowed` gives the methods of a path.
    """

    async def handle(request: Request, error: Exception) -> Response:
        refusal = refusal_of(error)
        if refusal is None:
            id = request.headers.get("x-request-id")
            log.error("a request failed", path=request.url.path, request=id, exc_info=error)
            detail = "This is a fault of the server. It is in its log; nothing that was acknowledged is lost."
            refusal = Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", detail)
        answer = refused(refusal) if is_page(request) else respond(refusal)
        if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED:
            answer.headers["Allow"] = ", ".join(allowed(request.url.path))
        return answer

    for kind in (*HANDLED, Exception):
        app.add_exception_handler(kind, handle)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_GONE)  # nobody reads it


def _invalid(error: RequestValidationError) -> Problem:
    fields = [
        {"field": ".".join(str(part) for part in e["loc"] if part != "body"), "message": words(e)}
        for e in error.errors()
    ]
    first = fields[0]
    field, message = first["field"] or "The body", first["message"].rstrip(".")
    detail = f"{field}: {message}." if message[:1].isupper() else f"{field} {message}."
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", detail, errors=fields)
