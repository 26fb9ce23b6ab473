"""Events of the auth service: who may ask, and for whom."""

from typing import ClassVar

from remote_claude.contracts.base import Event


class AuthEvent(Event):
    producer: ClassVar[str] = "auth"
    aggregate: ClassVar[str] = "key"


class ApiKeyIssued(AuthEvent):
    """A key exists. Only its HMAC-SHA256 is kept; `prefix` is what a person recognises it by."""

    type: ClassVar[str] = "ApiKeyIssued"
    version: ClassVar[int] = 1

    key: str
    org: str
    user: str
    prefix: str
    hash: str
    scopes: tuple[str, ...]
    expires_at: str | None = None


class ApiKeyRevoked(AuthEvent):
    """The key is refused from here on, on open connections too."""

    type: ClassVar[str] = "ApiKeyRevoked"
    version: ClassVar[int] = 1

    key: str
    org: str
    reason: str
