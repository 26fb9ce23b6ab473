"""Where sandboxes run: the promise (`ComputeProvider`) and the providers that keep it, found by entry point."""

from remote_claude.runner.providers.base import (
    Capabilities,
    ComputeProvider,
    Exit,
    Instance,
    LaunchSpec,
    Limits,
    Measured,
    ProviderError,
    SandboxExists,
    SandboxFailed,
    SandboxUnavailable,
    SandboxUnknown,
    Transport,
    UnixSocket,
    WebSocketAddress,
)
from remote_claude.runner.providers.settings import ProviderSettings, create

__all__ = [
    "Capabilities",
    "ComputeProvider",
    "Exit",
    "Instance",
    "LaunchSpec",
    "Limits",
    "Measured",
    "ProviderError",
    "ProviderSettings",
    "SandboxExists",
    "SandboxFailed",
    "SandboxUnavailable",
    "SandboxUnknown",
    "Transport",
    "UnixSocket",
    "WebSocketAddress",
    "create",
]
