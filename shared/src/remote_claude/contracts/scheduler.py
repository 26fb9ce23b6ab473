"""Events of the scheduler: what was decided. All of an organisation's stand in one stream, under one guard."""

from typing import ClassVar

from remote_claude.contracts.base import Event, Value


class Limits(Value):
    """What one sandbox may use, and what its time is metered at."""

    vcpu_millis: int
    memory_mib: int
    duration_s: int


class SchedulerEvent(Event):
    producer: ClassVar[str] = "scheduler"
    aggregate: ClassVar[str] = "org"

    task: str
    org: str


class TaskAdmitted(SchedulerEvent):
    """The task is in the queue, and one execution of `period` (`YYYY-MM`, UTC) is reserved for it."""

    type: ClassVar[str] = "TaskAdmitted"
    version: ClassVar[int] = 1

    period: str


class TaskRejected(SchedulerEvent):
    """The task will not run. `code` is stable, `detail` is for people. Terminal."""

    type: ClassVar[str] = "TaskRejected"
    version: ClassVar[int] = 1

    code: str
    detail: str


class TaskAssigned(SchedulerEvent):
    """`runner` is to execute this attempt, and nobody else: the attempt number is the fencing token.

    `deadline` is when the attempt ends at the latest; a runner that was not renewed for `lease_s` stops it.
    """

    type: ClassVar[str] = "TaskAssigned"
    version: ClassVar[int] = 1

    attempt: int
    runner: str
    agent: str
    limits: Limits
    deadline: str
    lease_s: int


class RunnerLost(SchedulerEvent):
    """The attempt ended with its runner, its sandbox or its worker. Its compute is not charged, except for `WORKER_LOST`."""

    type: ClassVar[str] = "RunnerLost"
    version: ClassVar[int] = 1

    attempt: int
    runner: str
    reason: str


class TaskRequeued(SchedulerEvent):
    """The task waits again; `attempt` is the number that its next attempt will have."""

    type: ClassVar[str] = "TaskRequeued"
    version: ClassVar[int] = 1

    attempt: int
    reason: str


class TerminalEvent(SchedulerEvent):
    """The last word on a task. What was reserved is released; `executed` says whether it counts as an execution."""

    attempt: int | None = None
    executed: bool


class TaskSucceeded(TerminalEvent):
    type: ClassVar[str] = "TaskSucceeded"
    version: ClassVar[int] = 1


class TaskFailed(TerminalEvent):
    type: ClassVar[str] = "TaskFailed"
    version: ClassVar[int] = 1

    reason: str
    exit_code: int | None = None


class TaskCancelled(TerminalEvent):
    type: ClassVar[str] = "TaskCancelled"
    version: ClassVar[int] = 1


class TaskTimedOut(TerminalEvent):
    type: ClassVar[str] = "TaskTimedOut"
    version: ClassVar[int] = 1
