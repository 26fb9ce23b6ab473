"""What a compute provider promises: start a sandbox with a command in it, watch it, measure it, end it.

Inside, whatever the provider: `/workspace` is the current directory (writable, empty), `HOME` is a
writable folder of its own, the sockets of the launch are at `$RCLAUDE_SOCKETS/<name>.sock` (seen
from there), standard input is empty, and nothing of the host's environment is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Protocol

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


class SandboxExists(ProviderError):
    """A sandbox of that name is still there."""

    code = "sandbox_exists"


class SandboxUnknown(ProviderError):
    """No sandbox of that name was launched by this provider, or so long ago that it is forgotten."""

    code = "sandbox_unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSpec:
    """What to start. `env` is visible to all that runs inside, and to nothing else."""

    name: str
    argv: tuple[str, ...]
    limits: Limits
    sockets: Mapping[str, Path] = field(default_factory=dict)
    """Name inside to unix socket on the host; the provider lets the sandbox's user connect to it."""
    env: Mapping[str, str] = field(default_factory=dict)
    readable: tuple[Path, ...] = ()
    """Host paths seen inside at the same place, read-only."""

    def __post_init__(self) -> None:
        for name in (self.name, *self.sockets):
            if not _NAME.fullmatch(name):
                raise ValueError(f"a name is 1 to 127 of a-z, 0-9, _ and -, not {name!r}")
        if not self.argv:
            raise ValueError("a sandbox needs a command to run")
        if any("\0" in text for text in (*self.argv, *self.env, *self.env.values())):
            raise ValueError("neither a command nor its environment can hold a NUL")
        if any(not key or "=" in key for key in self.env):
            raise ValueError("the name of an environment variable is not empty and holds no '='")


@dataclass(frozen=True, slots=True)
class Instance:
    """A living sandbox."""

    name: str
    pid: int
    """On the host: the first process of the sandbox. With it everything inside ends."""
    started_at: float
    """Monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a sandbox ended. Nothing of it runs any more."""

    code: int
    """Of the command, as a shell has it: 128 + n when signal n ended it."""
    reason: Literal["exited", "killed", "out_of_memory", "deadline"]
    """`killed` is any SIGKILL that neither the deadline nor the memory limit explains."""
    output: str = ""
    """The end of what the command wrote to its standard output and error: untrusted, for diagnosis only."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Seen from outside; `None` is not known on this machine. Goes on being told after the end."""

    wall_ms: int
    cpu_ms: int | None
    memory_peak_mib: int | None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider can do."""

    snapshot: bool
    pause: bool
    egress_policy: bool
    memory_limit: bool
    gpu: bool


class ComputeProvider(Protocol):
    """Starts sandboxes and ends them. One of these per runner; names are unique within it."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    async def launch(self, spec: LaunchSpec) -> Instance:
        """Start it; the deadline runs from here. Raises `SandboxFailed` or `SandboxExists`."""
        ...

    async def wait(self, name: str) -> Exit:
        """How it ended, once it has. Raises `SandboxFailed` when the command never started."""
        ...

    async def measure(self, name: str) -> Measured: ...

    async def terminate(self, name: str) -> None:
        """End it, now. Returns when nothing of it is left; what has ended already, or is unknown, is fine."""
        ...

    async def describe(self, name: str) -> Instance | None:
        """The living sandbox of that name."""
        ...

    async def list(self) -> list[Instance]:
        """The living ones."""
        ...
