"""The state of the scheduler: a fold of the log, without what has ended."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from remote_claude.contracts.billing import Entitlements
from remote_claude.contracts.periods import CALENDAR
from remote_claude.contracts.prices import PriceBook
from remote_claude.contracts.scheduler import EXECUTIONS, Admission, Settlement
from remote_claude.scheduler.domain.queue import Queue
from remote_claude.scheduler.domain.tasks import Admitted, Assigned, LiveTask, Needs, Queued, Running, due

PERIODS_KEPT = 3
MODEL, TOTAL, STORAGE = "model_nano_usd", "total_nano_usd", "storage_bytes"
"""The quotas besides executions."""


@dataclass(slots=True, kw_only=True)
class Runner:
    """A runner and the attempts that occupy its slots. It is given work while it has `joined`.

    `vcpu_millis` and `memory_mib` are what each slot can give.
    """

    id: str
    provider: str = ""
    pool: str = ""
    slots: int = 0
    vcpu_millis: int = 0
    memory_mib: int = 0
    agents: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    joined: bool = False
    only_for: str | None = None
    """The one organisation whose tasks it takes; None: those of all."""
    drained: bool = False
    """It takes no more work. What it gives back from then on is not lost."""
    held: dict[str, str] = field(default_factory=dict)
    """LiveTask to organisation."""

    @property
    def free(self) -> int:
        """How many more attempts it takes; below zero when it came back with fewer slots."""
        return self.slots - len(self.held) if self.joined and not self.drained else 0

    def fits(self, needs: Needs, plan: Entitlements, org: str) -> bool:
        """Whether one of its slots could run such a task of this organisation within the plan's bounds."""
        return (
            self.only_for in (None, org)
            and needs.agent in self.agents
            and needs.provider in (None, self.provider)
            and self.capabilities.issuperset(needs.capabilities)
            and self.vcpu_millis >= plan.vcpu_millis
            and self.memory_mib >= plan.memory_mib
        )


@dataclass(slots=True, kw_only=True)
class OrganisationQueue:
    """An organisation's queue: the aggregate. `position` is the one of its last own event, the guard of the next."""

    id: str
    position: int = 0
    plan: str | None = None
    plan_version: str = ""
    anchor: str = CALENDAR
    entitlements: Entitlements | None = None
    price_book: PriceBook | None = None
    upgrade: str | None = None
    """The advice at a limit of the plan."""
    suspended: str | None = None
    """Why the operator admits no task of it."""
    reserved: dict[str, int] = field(default_factory=dict)
    """Period to executions: those that ran and those that still may."""
    quotas: dict[str, dict[str, int]] = field(default_factory=dict)
    """Period to the quotas besides executions: what is used or reserved, by meter. Storage is under no period, the empty one."""
    tasks: dict[str, LiveTask] = field(default_factory=dict)
    due: dict[str, None] = field(default_factory=dict)
    """Tasks for which something has to be decided, in the order of the causes."""
    waiting: Queue = field(default_factory=Queue)
    attempts: int = 0
    """How many tasks occupy a slot."""
    credit: int = 1
    """Assignments that are left of its turn."""

    @property
    def weight(self) -> int:
        """How many assignments in a row it gets when it is its turn."""
        return self.entitlements.weight if self.entitlements is not None else 1

    @property
    def wants_slot(self) -> bool:
        """Whether it waits for slots and may have one."""
        if not self.waiting or self.entitlements is None:
            return False
        concurrency = self.entitlements.concurrency
        return concurrency is None or self.attempts < concurrency

    def reserve(self, admission: Admission) -> None:
        period = admission.period
        self.reserved[period] = self.reserved.get(period, 0) + executions(admission)
        if len(self.reserved) > PERIODS_KEPT:
            del self.reserved[min(self.reserved)]

        for r in admission.reservations:
            if r.meter != EXECUTIONS:
                self._take(period, r.meter, r.quantity)

    def settle(self, admission: Admission, settlements: Sequence[Settlement]) -> None:
        """Count what was used of the quotas besides executions, no longer what was reserved."""
        reserved = {r.meter: r.quantity for r in admission.reservations if r.meter != EXECUTIONS}
        for s in settlements:
            if s.meter in reserved:
                self._take(admission.period, s.meter, s.settled - reserved[s.meter])

    def store(self, size: int) -> None:
        """So much is stored by now; what live tasks have reserved comes on top."""
        live = (task for task in self.tasks.values() if isinstance(task, Admitted))
        reserved = sum(r.quantity for t in live for r in t.admission.reservations if r.meter == STORAGE)
        self.quotas[""] = {STORAGE: size + reserved}

    def taken(self, period: str) -> dict[str, int]:
        """What is used or reserved in a period of the quotas besides executions."""
        return {**self.quotas.get(period, {}), **self.quotas.get("", {})}

    def _take(self, period: str, meter: str, quantity: int) -> None:
        sums = self.quotas.setdefault("" if meter == STORAGE else period, {})
        sums[meter] = sums.get(meter, 0) + quantity
        if len(self.quotas) > PERIODS_KEPT + 1:
            del self.quotas[min(period for period in self.quotas if period)]

    def release(self, admission: Admission) -> None:
        if admission.period in self.reserved:
            self.reserved[admission.period] -= executions(admission)


def executions(admission: Admission) -> int:
    """The executions that an admission reserves."""
    return sum(r.quantity for r in admission.reservations if r.meter == EXECUTIONS)


@dataclass(slots=True, kw_only=True)
class SchedulerState:
    """All organisations and runners as of `position`; `event_id` is the event there."""

    position: int = 0
    event_id: str = ""
    organisations: dict[str, OrganisationQueue] = field(default_factory=dict)
    runners: dict[str, Runner] = field(default_factory=dict)
    due: dict[str, None] = field(default_factory=dict)
    """Organisations with something to decide."""
    rotation: OrderedDict[str, None] = field(default_factory=OrderedDict)
    """Organisations that want a slot; the first one's turn is next."""

    def organisation(self, id: str) -> OrganisationQueue:
        if (organisation := self.organisations.get(id)) is None:
            organisation = self.organisations[id] = OrganisationQueue(id=id)
        return organisation

    def runner(self, id: str) -> Runner:
        if (runner := self.runners.get(id)) is None:
            runner = self.runners[id] = Runner(id=id)
        return runner

    def task(self, org: str, task: str) -> LiveTask | None:
        organisation = self.organisations.get(org)
        return organisation.tasks.get(task) if organisation else None

    def occupying(self) -> Iterator[Assigned | Running]:
        """Every attempt that holds a slot."""
        for runner in self.runners.values():
            for task, org in runner.held.items():
                held = self.organisations[org].tasks[task]
                assert isinstance(held, Assigned | Running)
                yield held

    def forget(self, runner: str) -> None:
        """Drop a runner that holds nothing. If it comes back it has to join again."""
        if not self.runners[runner].held:
            del self.runners[runner]

    def replace(self, before: LiveTask | None, after: LiveTask | None) -> None:
        """Let `after` take the place of `before`, and keep every index true. None is before the first or after the last."""
        submission = (after or before).submission  # type: ignore[union-attr]
        organisation = self.organisation(submission.org)
        if isinstance(before, Queued) and not before.cancellation:
            organisation.waiting.discard(before)
        if isinstance(before, Assigned | Running):
            organisation.attempts -= 1
            del self.runners[before.runner].held[submission.task]
        if after is None:
            organisation.tasks.pop(submission.task, None)
        else:
            organisation.tasks[submission.task] = after
        if isinstance(after, Queued) and not after.cancellation:
            organisation.waiting.add(after)
        if isinstance(after, Assigned | Running):
            organisation.attempts += 1
            self.runner(after.runner).held[submission.task] = submission.org
        if after is not None and due(after):
            organisation.due[submission.task] = None
        else:
            organisation.due.pop(submission.task, None)
        self.reindex(organisation)

    def reindex(self, organisation: OrganisationQueue) -> None:
        """Keep the organisation's place among those to decide for, and in the rotation."""
        if organisation.due:
            self.due[organisation.id] = None
        else:
            self.due.pop(organisation.id, None)
        if not organisation.wants_slot:
            self.rotation.pop(organisation.id, None)
        elif organisation.id not in self.rotation:
            self.rotation[organisation.id] = None
