"""The Python SDK of Remote Claude: `Client`, and `AsyncClient` for asyncio.

Names are imported at their first use, so that `import remote_claude.client` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from remote_claude.client import models, operations
    from remote_claude.client.async_client import AsyncClient, AsyncTask
    from remote_claude.client.calls import Call
    from remote_claude.client.credentials import ApiKey, Credentials, Tokens
    from remote_claude.client.errors import (
        ApiError,
        Conflict,
        InvalidRequest,
        NotConfigured,
        NotFound,
        PaymentRequired,
        PermissionDenied,
        RateLimited,
        RemoteClaudeError,
        ServerError,
        Unauthenticated,
        UnexpectedAnswer,
        Unreachable,
        Unusable,
    )  # fmt: skip
    from remote_claude.client.retrying import Retry
    from remote_claude.client.stream import Message
    from remote_claude.client.sync_client import Client, Task

__all__ = [
    "ApiError",
    "ApiKey",
    "AsyncClient",
    "AsyncTask",
    "Call",
    "Client",
    "Conflict",
    "Credentials",
    "InvalidRequest",
    "Message",
    "NotConfigured",
    "NotFound",
    "PaymentRequired",
    "PermissionDenied",
    "RateLimited",
    "RemoteClaudeError",
    "Retry",
    "ServerError",
    "Task",
    "Tokens",
    "Unauthenticated",
    "UnexpectedAnswer",
    "Unreachable",
    "Unusable",
    "models",
    "operations",
]
_MODULES = ("sync_client", "async_client", "errors", "credentials", "calls", "retrying", "stream")


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in ("models", "operations"):
        return import_module(f"{__name__}.{name}")
    if name in __all__:
        for module in _MODULES:
            found = import_module(f"{__name__}.{module}")
            if hasattr(found, name):
                return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
