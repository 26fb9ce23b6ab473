"""Events of the scheduler: what was decided. All of an organisation's are in one stream, under one guard."""

from typing import ClassVar, Literal

from remote_claude.contracts.base import Event, Quantity, Value

EXECUTIONS = "executions"
"""The meter of executions: one is reserved at admission, and used once any attempt of the task has started."""


class Limits(Value):
    """The size of a sandbox as it was allocated: what it may use, and what its time is metered at."""

    vcpu_millis: int
    memory_mib: int
    duration_s: int


class SchedulerEvent(Event):
    producer: ClassVar[str] = "scheduler"
    aggregate: ClassVar[str] = "org"

    task: str
    org: str


class Reservation(Value):
    """`quantity` of a meter, in its smallest unit, is kept back for the task: `executions`, and where the plan bounds them
    `model_nano_usd`, `total_nano_usd` and `storage_bytes`.

    A hard reservation counts against its limit until the task ends; a soft one is an estimate and refuses nobody.
    """

    meter: str
    quantity: Quantity
    kind: Literal["hard", "soft"]


class Admission(Value):
    """What a task was admitted with. Its execution belongs to `period`, whenever it starts.

    `period` is the id of a billing period (`contracts/periods.py`), `plan_version` that of the plan it was checked against.
    """

    period: str
    plan_version: str
    reservations: tuple[Reservation, ...]


class TaskAdmitted(SchedulerEvent):
    """The task is in the queue. One that is assigned in the same decision has its admission in `TaskAssigned` instead."""

    type: ClassVar[str] = "TaskAdmitted"
    version: ClassVar[int] = 1

    admission: Admission


class TaskRejected(SchedulerEvent):
    """The task will not run. `code` is stable, `detail` is for people. Terminal."""

    type: ClassVar[str] = "TaskRejected"
    version: ClassVar[int] = 1

    code: str
    detail: str


class TaskAssigned(SchedulerEvent):
    """`runner` executes this attempt, and no other runner does: the attempt number is the fencing token.

    `provider` and `pool` are the runner's; `image` is None for the provider's default. The attempt ends at `deadline` at
    the latest. A runner whose lease was not renewed for `lease_s` seconds stops it.
    `admission` is set when the task was admitted in the same decision: there is no `TaskAdmitted` then.
    """

    type: ClassVar[str] = "TaskAssigned"
    version: ClassVar[int] = 1

    attempt: int
    runner: str
    provider: str
    pool: str
    image: str | None = None
    agent: str
    limits: Limits
    deadline: str
    lease_s: int
    admission: Admission | None = None


class RunnerLost(SchedulerEvent):
    """The attempt ended with its runner, its sandbox or its worker. `charge` says whether its compute is charged.

    Model use is charged in any case.
    """

    type: ClassVar[str] = "RunnerLost"
    version: ClassVar[int] = 1

    attempt: int
    runner: str
    reason: str
    charge: bool


class TaskRequeued(SchedulerEvent):
    """The task waits again; `attempt` is the number that its next attempt will have."""

    type: ClassVar[str] = "TaskRequeued"
    version: ClassVar[int] = 1

    attempt: int
    reason: str


class Settlement(Value):
    """The end of a reservation: `settled` of it was used, `released` is free again.

    Together they are what was reserved; more only where a task has used more than its estimate."""

    meter: str
    settled: Quantity
    released: Quantity


class TerminalEvent(SchedulerEvent):
    """The task has ended, once and for all. `settlements` end its reservations; there are none if it was not admitted."""

    attempt: int | None = None
    settlements: tuple[Settlement, ...] = ()


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
