"""Events of the runner: what happened. An attempt's stream is written by its assigned runner only."""

from typing import ClassVar, Literal

from pydantic import Field

from remote_claude.contracts.base import Event, Quantity, Value

AttemptOutcome = Literal["succeeded", "failed", "cancelled", "timed_out", "lost"]

RUNNER_RESTARTED = "runner_restarted"
"""Reason of the attempts that a runner finds lost at its start. It says so before it joins, and gets no work until then."""

WORKER_LOST = "worker_lost"
"""Reason of an attempt whose worker came, and then ended or fell silent before its sandbox was told to: what ran
beside it may have done that, so its compute is charged."""


class RunnerEvent(Event):
    producer: ClassVar[str] = "runner"
    aggregate: ClassVar[str] = "runner"
    in_organisation: ClassVar[bool] = False


class RunnerJoined(RunnerEvent):
    """A runner takes work from here on. A second one of the same runner replaces the first: it has restarted.

    `vcpu_millis` and `memory_mib` are what each of its slots can give an attempt.
    """

    type: ClassVar[str] = "RunnerJoined"
    version: ClassVar[int] = 1

    runner: str
    provider: str
    slots: int
    vcpu_millis: int
    memory_mib: int
    agents: tuple[str, ...]


class RunnerDrained(RunnerEvent):
    """The runner takes no more work."""

    type: ClassVar[str] = "RunnerDrained"
    version: ClassVar[int] = 1

    runner: str


class AttemptEvent(RunnerEvent):
    aggregate: ClassVar[str] = "attempt"
    in_organisation: ClassVar[bool] = True

    task: str
    org: str
    attempt: int
    runner: str


class AssignmentDeclined(AttemptEvent):
    """The runner has no fitting slot; the attempt never began and costs no retry."""

    type: ClassVar[str] = "AssignmentDeclined"
    version: ClassVar[int] = 1

    reason: str


class TaskStarted(AttemptEvent):
    type: ClassVar[str] = "TaskStarted"
    version: ClassVar[int] = 1


class Cumulative(Value):
    """Everything an attempt has used since it started.

    `vcpu_ms` and `gib_ms` are allocation times wall clock, in thousandths of vCPU-seconds and GiB-seconds;
    `model_tokens` is model -> kind (`input`, `output`, `cache_read`, `cache_write_5m`, `cache_write_1h`) -> count;
    `model_nano_usd` is in billionths of a dollar, measured at the proxy.
    """

    vcpu_ms: Quantity = 0
    gib_ms: Quantity = 0
    egress_bytes: Quantity = 0
    model_tokens: dict[str, dict[str, Quantity]] = Field(default_factory=dict)
    model_nano_usd: Quantity = 0


class UsageRecorded(AttemptEvent):
    """A sample of an attempt's use: cumulative, so a lost sample is made up by the next and a repeated one changes nothing."""

    type: ClassVar[str] = "UsageRecorded"
    version: ClassVar[int] = 1

    sequence: int
    cumulative: Cumulative


class Result(Value):
    """What an attempt leaves: objects by SHA-256, commits by Git's id. `commit` is None when nothing was changed."""

    base: str | None = None
    sent: str | None = None
    commit: str | None = None
    bundle: str | None = None
    patch: str | None = None


class SealedOutput(Value):
    """The whole output of a finished attempt as one object: `frames` frames under `sha256`."""

    sha256: str
    frames: int


class AttemptFinished(AttemptEvent):
    """The attempt is over and its sandbox is gone. `reason` is a stable code where the outcome needs one."""

    type: ClassVar[str] = "AttemptFinished"
    version: ClassVar[int] = 1

    outcome: AttemptOutcome
    exit_code: int | None = None
    reason: str | None = None
    result: Result | None = None
    output: SealedOutput | None = None
