"""What can go wrong. Every refusal of the API is a type of its own, made from its problem document (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class RemoteClaudeError(Exception):
    """The base of all errors of this package."""


class NotConfigured(RemoteClaudeError):
    """No server is named, and no embedded stack runs."""


class Unusable(RemoteClaudeError):
    """The environment prevents a connection: `code` is `proxy_unusable` or `certificates_unusable`."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Unreachable(RemoteClaudeError):
    """The server did not answer, or the connection was lost. `url` is its address."""

    def __init__(self, url: str, reason: object) -> None:
        super().__init__(f"{url} does not answer ({reason or type(reason).__name__})")
        self.url, self.reason = url, str(reason) or type(reason).__name__


class UnexpectedAnswer(RemoteClaudeError):
    """What answers at `url` does not speak this API."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url} does not speak this API: is it the address of Remote Claude?")
        self.url = url


class ApiError(RemoteClaudeError):
    """The API refused. `code` is stable and for programs, `detail` says what happened and what to do.

    `document` is the whole answer, `status` the HTTP status, `retry_after_s` the seconds after which to ask again, where
    the server said so.
    """

    def __init__(self, status: int, document: Mapping[str, Any], retry_after_s: int | None = None) -> None:
        self.status, self.document, self.retry_after_s = status, document, retry_after_s
        # the token endpoint has its own fields (RFC 6749, section 5.2)
        self.code = str(document.get("code") or document.get("error") or f"http_{status}")
        self.detail = str(
            document.get("detail")
            or document.get("error_description")
            or document.get("title")
            or f"the server answered {status}"
        )
        super().__init__(self.detail)


class InvalidRequest(ApiError):
    """400, 413, 422 and others: the request can't be taken as it is."""


class Unauthenticated(ApiError):
    """401: the key or the session is missing, unknown, expired or revoked."""


class PaymentRequired(ApiError):
    """402: the plan, the budget or the quota does not allow it."""


class PermissionDenied(ApiError):
    """403: the scope or the role does not allow it."""


class NotFound(ApiError):
    """404: there is none, or it belongs to another organisation."""


class Conflict(ApiError):
    """409: the state does not allow it, or an idempotency key has been used with another body."""


class RateLimited(ApiError):
    """429: too many requests."""


class ServerError(ApiError):
    """5xx: the server failed, or is not ready."""


OF_STATUS: dict[int, type[ApiError]] = {
    401: Unauthenticated,
    402: PaymentRequired,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    429: RateLimited,
}


def refusal(status: int, document: Any, retry_after: str = "") -> ApiError:
    """The error of an answer. `document` is what it holds, whatever that is; `retry_after` is the header."""
    kind = OF_STATUS.get(status, ServerError if status >= 500 else InvalidRequest)
    seconds = int(retry_after) if retry_after.isdigit() else None
    return kind(status, document if isinstance(document, Mapping) else {}, seconds)
