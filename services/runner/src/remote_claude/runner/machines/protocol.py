"""The protocol between a machine and the runner service: JSON text messages of one WebSocket.

The machine begins with `MachineHello` and gets `Welcome`. Then the service calls, and the machine answers each call once, in any
order. Calls that had no answer when the connection was cut are made again on the next one, under the same number.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from remote_claude.runner.providers.base import SandboxLimits

MAX_MESSAGE = 1 << 20
NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"

Operation = Literal["check", "recover", "launch", "wait", "measure", "terminate", "list"]


class MachineMessage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class MachineHello(MachineMessage):
    """A machine offers itself. The same `name` of the same organisation is the same runner."""

    kind: Literal["hello"] = "hello"
    name: str = Field(pattern=NAME)
    release: str
    slots: int = Field(ge=1, le=1000)
    vcpu_millis: int = Field(ge=100)
    memory_mib: int = Field(ge=128)
    agents: tuple[str, ...] = ()
    egress_policy: bool = False
    memory_limit: bool = False
    disk_limit: bool = False
    labels: dict[str, str] = Field(default_factory=dict, max_length=32)


class Welcome(MachineMessage):
    """`path` is where workers connect, at the same address. Another `service` than before has forgotten all sandboxes."""

    kind: Literal["welcome"] = "welcome"
    runner: str
    path: str
    service: str


class MachineCall(MachineMessage):
    """One method of a `ComputeProvider`. `argument` is the name of a sandbox, or what to launch."""

    kind: Literal["call"] = "call"
    number: int
    operation: Operation
    name: str = ""
    launch: MachineLaunch | None = None


class MachineLaunch(MachineMessage):
    """A `LaunchSpec` whose sandbox runs the worker."""

    limits: dict[str, float]
    env: dict[str, str]
    labels: dict[str, str]

    def to_limits(self) -> SandboxLimits:
        """Raises `ValueError`, `TypeError`."""
        whole = {key: value if key == "duration_s" else int(value) for key, value in self.limits.items()}
        return SandboxLimits(**whole)  # type: ignore[arg-type]  # checked by the class itself


class MachineAnswer(MachineMessage):
    """The outcome of a call: a result, or the code and the text of a `ProviderError`."""

    kind: Literal["answer"] = "answer"
    number: int
    result: Any = None
    code: str | None = None
    detail: str = ""


class Drain(MachineMessage):
    """From the machine: it takes no more work. The service closes the connection once nothing runs there."""

    kind: Literal["drain"] = "drain"
