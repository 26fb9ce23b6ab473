"""What a compute provider promises: start a sandbox with a worker in it, wait for its end, measure it, end it.

Inside, with every provider: the current directory is the workspace (writable, empty), `HOME` is a writable folder of
its own, `RCLAUDE_RUNNER_URL` is where the worker reaches its runner, standard input is empty, and nothing of the
host's environment is there. `tests/runner/provider_contract.py` is the suite that every provider passes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Protocol, TypeAlias

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,126}")


class ProviderError(Exception):
    """A provider could not do what it was asked; `code` is stable, the message says what to do."""

    code: ClassVar[str] = "provider_error"


class SandboxUnavailable(ProviderError):
    """This machine cannot isolate; the message says what to install or to switch."""

    code = "sandbox_unavailable"


class SandboxFailed(ProviderError):
    """The sandbox could not be built; what was to run inside never started."""

    code = "sandbox_failed"


class QuotaReached(SandboxFailed):
    """The provider's account may not run more; the message says which limit to raise."""

    code = "provider_quota"


class CapacityMissing(SandboxFailed):
    """The provider has no machine of this size free at the moment."""

    code = "provider_capacity"


class CredentialsRefused(SandboxFailed):
    """The provider knows no credentials of this runner, or they may not do what was asked."""

    code = "provider_credentials"


class RequestThrottled(SandboxFailed):
    """The provider took no more requests, also after several tries."""

    code = "provider_throttled"


class SandboxTooLarge(SandboxFailed):
    """The provider has no machine of the size that was asked for."""

    code = "provider_size"


class ImageUnusable(SandboxFailed):
    """The image is not there, has no worker, or one that never connects. Another attempt would fail the same way."""

    code = "image_unusable"


class SandboxExists(ProviderError):
    """A sandbox of that name is still there."""

    code = "sandbox_exists"


class SandboxUnknown(ProviderError):
    """No sandbox of that name was launched by this provider, or so long ago that it is forgotten."""

    code = "sandbox_unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLimits:
    """Of one sandbox. Files in it are memory where the provider keeps them there, and count as such."""

    vcpu_millis: int
    memory_mib: int
    duration_s: float
    processes: int = 512
    """Threads count."""
    disk_mib: int = 4096
    """All that can be written: half of it in the workspace, a quarter in the home, the rest in `/tmp` and `/dev/shm`."""

    def __post_init__(self) -> None:
        for limit in ("vcpu_millis", "memory_mib", "duration_s", "processes", "disk_mib"):
            if getattr(self, limit) <= 0:
                raise ValueError(f"a sandbox needs a positive {limit}, not {getattr(self, limit)}")


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A socket of the runner on this machine, which the provider makes visible in the sandbox."""

    path: Path


@dataclass(frozen=True, slots=True)
class WebSocketAddress:
    """`ws://` or `wss://`, reached over the network of the sandbox."""

    url: str


Transport: TypeAlias = UnixSocket | WebSocketAddress
"""How a worker reaches its runner. A provider need not support both: `ComputeProvider.transports` says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """What to start. `env` is visible to all that runs inside, and to nothing else."""

    name: str
    limits: SandboxLimits
    argv: tuple[str, ...] | None = None
    """None is the worker, where and as the provider has it."""
    transport: Transport | None = None
    """None only where nothing in the sandbox needs its runner."""
    env: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    """Of the sandbox, where the provider has images; None is its default."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """For the people who look at the provider's own list."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"a name is 1 to 127 of a-z, 0-9, _ and -, not {self.name!r}")
        if self.argv == ():
            raise ValueError("a sandbox needs a command to run")
        if any("\0" in text for text in (*(self.argv or ()), *self.env, *self.env.values())):
            raise ValueError("neither a command nor its environment can hold a NUL")
        if any(not key or "=" in key for key in self.env):
            raise ValueError("the name of an environment variable is not empty and holds no '='")


@dataclass(frozen=True, slots=True)
class Instance:
    """A running sandbox. `handle` is the provider's own name of it: opaque, for people and for its tools."""

    name: str
    handle: str


@dataclass(frozen=True, slots=True)
class SandboxExit:
    """How a sandbox ended. Nothing of it runs any more."""

    code: int
    """Of the command, as a shell has it: 128 + n when signal n ended it."""
    reason: Literal["exited", "killed", "out_of_memory", "deadline"]
    """`killed` is any SIGKILL that neither the deadline nor the memory limit explains."""
    output: str = ""
    """The end of what the command wrote to its standard output and error: untrusted, for diagnosis only."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Seen from outside; `None` is not known here. Can still be read after the end."""

    wall_ms: int
    cpu_ms: int | None
    memory_peak_mib: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a provider can do. A limit that it cannot enforce is False here."""

    snapshot: bool = False
    pause: bool = False
    egress_policy: bool = False
    """Nothing but the runner can be reached from inside."""
    memory_limit: bool = False
    disk_limit: bool = False
    image: bool = False
    """A launch may name one."""
    gpu: bool = False


class ComputeProvider(Protocol):
    """Starts sandboxes and ends them. Names are unique within a provider; launching is idempotent under a name."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def transports(self) -> frozenset[type[Transport]]:
        """The kinds that its sandboxes can use."""
        ...

    async def check(self) -> None:
        """Run something in a sandbox once. Raises `SandboxUnavailable`, which says what to do."""
        ...

    async def recover(self) -> list[str]:
        """End and remove what an earlier process of this runner left; the names of it.

        Called before the first launch. Raises `ProviderError` while another process uses the same place.
        """
        ...

    async def launch(self, spec: LaunchSpec) -> Instance:
        """Start it; the deadline runs from here. Raises `SandboxFailed` or `SandboxExists`."""
        ...

    async def wait(self, name: str) -> SandboxExit:
        """How it ended, once it has. Raises `SandboxFailed` when the command never started."""
        ...

    async def measure(self, name: str) -> Measurement:
        """What it uses. Raises `SandboxUnknown`."""
        ...

    async def terminate(self, name: str) -> None:
        """End it, now. Returns when nothing of it is left; one that has ended already, or is unknown, is fine."""
        ...

    async def list(self) -> list[Instance]:
        """The running ones."""
        ...

    async def close(self) -> None:
        """End everything."""
        ...
