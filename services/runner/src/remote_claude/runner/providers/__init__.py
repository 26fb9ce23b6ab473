"""Where sandboxes run: the promise (`ComputeProvider`) and the providers that keep it."""

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
)
from remote_claude.runner.providers.local import HomeBusy, Isolation, LocalProvider

__all__ = [
    "Capabilities",
    "ComputeProvider",
    "Exit",
    "HomeBusy",
    "Instance",
    "Isolation",
    "LaunchSpec",
    "Limits",
    "LocalProvider",
    "Measured",
    "ProviderError",
    "SandboxExists",
    "SandboxFailed",
    "SandboxUnavailable",
    "SandboxUnknown",
]
