"""What every execution of a runner works with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from remote_claude.outbound import AllowedHosts
from remote_claude.runner.model_proxy import Upstream
from remote_claude.runner.providers import ComputeProvider, Transport, UnixSocket, WebSocketAddress
from remote_claude.runner.sessions import WorkerListener
from remote_claude.runner.settings import RunnerSettings
from remote_claude.runtime.service import Runtime


@dataclass(frozen=True, slots=True)
class ExecutionDependencies:
    """`folder` is where attempts keep their files while they run; `transport` is how their workers reach this runner."""

    runtime: Runtime
    settings: RunnerSettings
    provider: ComputeProvider
    upstream: Upstream | None
    """The model, for those that have a key to it."""
    listener: WorkerListener
    websocket_url: str | None
    """Where workers with a network reach this runner."""
    folder: Path
    outbound: AllowedHosts
    """What sandboxes may reach beyond the public internet."""
    upstream_for: str | None = None
    """The one organisation that `upstream` serves; None: every one."""
    own_compute: bool = False
    """Whether the machine is the organisation's own: its time and memory are not metered."""

    def upstream_of(self, org: str) -> Upstream | None:
        """The model by the operator's key, if that serves this organisation."""
        return self.upstream if self.upstream_for in (None, org) else None

    @property
    def transport(self) -> Transport:
        """The unix socket where the provider can bind it into a sandbox, otherwise the address."""
        if UnixSocket in self.provider.transports:
            return UnixSocket(self.listener.socket)
        assert self.websocket_url is not None
        return WebSocketAddress(self.websocket_url)
