"""An independent reader of the raw log: it checks what must always hold, and shares no code with any service's fold."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from remote_claude.contracts.periods import CALENDAR, period_at
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.log import EventLog
from remote_claude.runtime.admin.verified_periods import VerifiedPeriods
from remote_claude.runtime.admin.verified_use import AttemptAssignment, VerifiedUse

TERMINAL = {"TaskSucceeded", "TaskFailed", "TaskCancelled", "TaskTimedOut", "TaskRejected"}
WEBHOOK_OUTCOMES = {"WebhookDelivered", "WebhookFailed"}
KEPT_VIOLATIONS = 20


@dataclass(frozen=True, slots=True)
class Violation:
    """What does not hold, and the position at which it stopped to hold."""

    rule: str
    position: int
    detail: str


@dataclass(slots=True)
class TaskHistory:
    """What the log has of a task. `first_start` is a position; `over` are attempts that can't go on.

    `reserved` is meter to quantity, None before the task is admitted.
    """

    org: str
    period: str | None = None
    reserved: dict[str, int] | None = None
    attempts: int = 0
    assigned: dict[int, AttemptAssignment] = field(default_factory=dict)
    started: set[int] = field(default_factory=set)
    first_start: int | None = None
    finished: dict[int, str] = field(default_factory=dict)
    over: set[int] = field(default_factory=set)
    terminal: str | None = None

    def started_by(self, position: int) -> bool:
        return self.first_start is not None and self.first_start <= position


@dataclass(slots=True)
class VerificationReport:
    """How much was read, and the first violations."""

    events: int = 0
    position: int = 0
    tasks: int = 0
    live: int = 0
    violations: list[Violation] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        return {
            "ok": not self.violations,
            "events": self.events,
            "position": self.position,
            "tasks": self.tasks,
            "live": self.live,
            "violations": [
                {"rule": v.rule, "position": v.position, "detail": v.detail} for v in self.violations
            ],
        }

    def summary(self) -> str:
        read = f"{self.events:,} events up to position {self.position:,}, {self.tasks:,} tasks, {self.live:,} of them live"
        if not self.violations:
            return f"ok: {read}"
        first = self.violations[0]
        return f"VIOLATED: {first.rule} at position {first.position}: {first.detail}\n({read})"


async def verify(log: EventLog) -> VerificationReport:
    """Read the whole log once and check every rule on the way."""
    checker = Checker()
    async for batch in log.read():
        for recorded in batch:
            checker.check(recorded)
    return checker.report


class Checker:
    """The rules, folded over raw events in log order. A decision is held against what it was decided on: its cause."""

    def __init__(self) -> None:
        self.report = VerificationReport()
        self._position = 0
        self._decided_on = 0
        self._ids: set[str] = set()
        self._causes: dict[str, int] = {}
        self._tasks: dict[str, TaskHistory] = {}
        self._plans: defaultdict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        self._occupying: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
        """The attempts of each organisation that hold a slot."""
        self._held: defaultdict[str, set[tuple[str, str, int]]] = defaultdict(set)
        """The same of each runner, with their organisation."""
        self._periods = VerifiedPeriods()
        self._reserved: Counter[tuple[str, str]] = Counter()
        self._use = VerifiedUse()
        self._hooks: dict[str, str] = {}
        self._settled: dict[tuple[str, str], int] = {}
        self._replays: dict[tuple[str, str], int] = {}
        """Deliveries by task and webhook: how many outcomes there are, and how many replays were asked for."""

    def check(self, recorded: RecordedEvent) -> None:
        """One event, in its turn."""
        self._position = recorded.position
        try:
            self._check(recorded, json.loads(recorded.data))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            self._violated("events can be read", f"{recorded!r}: {error!r}")
        self.report.events += 1
        self.report.tasks = len(self._tasks)

    def _check(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        self._check_envelope(recorded, data)
        match recorded.stream.split(".")[1]:
            case "gateway" if "hook" in data:
                self._check_webhook(recorded, data)
            case "gateway" if "task" in data:
                self._check_gateway(recorded.type, data)
            case "scheduler":
                self._check_scheduler(recorded, data)
            case "runner" if recorded.stream.split(".")[3] in ("pull_request", "thread"):
                if data["task"] not in self._tasks:
                    self._violated(
                        "what concerns a task follows its submission", f"{recorded.type} of {data['task']}"
                    )
            case "runner" if "task" in data:
                self._check_runner(recorded, data)
            case "runner" if recorded.type == "RunnerJoined":  # it has lost what it held before
                for org, task, attempt in list(self._held[data["runner"]]):
                    self._vacate(data["runner"], org, task, attempt)
            case "billing" if recorded.type == "PlanChanged":
                self._plans[data["org"]].append((recorded.position, data))
            case "billing" if recorded.type == "PeriodOpened":
                for rule, detail in self._periods.opened(data, self._plan(data["org"]).get("anchor")):
                    self._violated(rule, detail)
            case "billing" if recorded.type == "ModelPricesPublished":
                self._use.published(data["prices"])

    def _violated(self, rule: str, detail: str) -> None:
        if len(self.report.violations) < KEPT_VIOLATIONS:
            self.report.violations.append(Violation(rule, self._position, detail))

    def _check_envelope(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        if recorded.position <= self.report.position:
            self._violated("positions rise", f"{recorded.position} after {self.report.position}")
        self.report.position = recorded.position
        if recorded.event_id in self._ids:
            self._violated("event ids are unique", recorded.event_id)
        if recorded.causation_id is not None and recorded.causation_id not in self._ids:
            self._violated("what is caused follows its cause", f"{recorded!r} of {recorded.causation_id}")
        self._ids.add(recorded.event_id)
        self._decided_on = recorded.position
        if recorded.cause is not None:
            self._decided_on = recorded.cause
            if not self._causes.get(recorded.stream, 0) <= recorded.cause < recorded.position:
                self._violated("causes are handled in their order", f"{recorded!r} on {recorded.cause}")
            self._causes[recorded.stream] = recorded.cause
        org = data.get("org")
        if org is not None and recorded.organisation != org:
            self._violated("an organisation's events are in its own streams", f"{org} in {recorded.stream}")

    def _check_gateway(self, kind: str, data: dict[str, Any]) -> None:
        task = self._tasks.get(data["task"])
        if kind == "TaskSubmitted":
            if task is not None:
                self._violated("a task is submitted once", data["task"])
                return
            self._tasks[data["task"]] = TaskHistory(data["org"])
            self.report.live += 1
        elif task is None:
            self._violated("what concerns a task follows its submission", f"{kind} of {data['task']}")

    def _check_webhook(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        kind, hook = recorded.type, data["hook"]
        if kind == "WebhookAdded":
            if hook in self._hooks:
                self._violated("a webhook is added once", hook)
            self._hooks[hook] = data["org"]
            return
        if self._hooks.get(hook) != data["org"]:
            self._violated(
                "a webhook gets tasks of its own organisation", f"{kind} of {hook} in {data['org']}"
            )
        if kind == "WebhookReplayRequested":
            delivery = (data["task"], hook)
            self._replays[delivery] = self._replays.get(delivery, 0) + 1
        if kind in WEBHOOK_OUTCOMES:
            name = data["task"]
            task = self._tasks.get(name)
            if task is None or task.org != data["org"] or task.terminal is None:
                self._violated("a webhook gets tasks that have ended", f"{kind} of {name} for {hook}")
            settled = self._settled.get((name, hook), 0)
            if settled > self._replays.get((name, hook), 0):  # one of its own, one for each replay
                self._violated("a delivery to a webhook has one outcome", f"{kind} of {name} for {hook}")
            self._settled[name, hook] = settled + 1

    def _check_scheduler(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        kind, name = recorded.type, data["task"]
        task = self._tasks.get(name)
        if task is None:
            self._violated("what concerns a task follows its submission", f"{kind} of {name}")
            return
        if task.org != data["org"]:
            self._violated("a task stays with its organisation", f"{kind} of {name} by {data['org']}")
        if task.terminal is not None:
            self._violated("a task ends once", f"{kind} of {name} after {task.terminal}")
            return
        match kind:
            case "TaskAdmitted":
                self._admitted(name, task, data["admission"], recorded.occurred_at)
            case "TaskAssigned":
                if data["admission"] is not None:
                    self._admitted(name, task, data["admission"], recorded.occurred_at)
                self._assigned(name, task, data, recorded.occurred_at)
            case "RunnerLost":
                task.over.add(data["attempt"])
                self._vacate(data["runner"], task.org, name, data["attempt"])
            case _ if kind in TERMINAL:
                self._ended(name, task, kind, data)

    def _admitted(self, name: str, task: TaskHistory, admission: dict[str, Any], at: str) -> None:
        if task.reserved is not None:
            self._violated("a task is admitted once", name)
            return
        task.period, task.reserved = admission["period"], {}
        for reservation in admission["reservations"]:
            task.reserved[reservation["meter"]] = int(reservation["quantity"])
        plan = self._plan(task.org)
        period = period_at(plan.get("anchor", CALENDAR), _instant(at)).id
        if (task.period, admission["plan_version"]) != (period, plan["plan_version"]):
            self._violated("an admission names its period and its plan", f"{name}: {admission}, not {period}")
        self._reserved[task.org, task.period] += task.reserved.get("executions", 0)
        reserved, limit = self._reserved[task.org, task.period], plan["entitlements"]["executions_per_month"]
        if limit is not None and reserved > limit:
            self._violated(
                "no more is admitted than the plan allows",
                f"{task.org} in {task.period}: {reserved} of {limit}",
            )

    def _plan(self, org: str) -> dict[str, Any]:
        """The plan that was known when it was decided; one that allows nothing, if there was none."""
        known = [plan for position, plan in self._plans[org] if position <= self._decided_on]
        return known[-1] if known else NO_PLAN

    def _assigned(self, name: str, task: TaskHistory, data: dict[str, Any], at: str) -> None:
        attempt, runner, limits = data["attempt"], data["runner"], data["limits"]
        if task.reserved is None:
            self._violated("only what was admitted is assigned", f"{name}-{attempt}")
        if attempt <= task.attempts:
            self._violated("attempt numbers rise", f"{name}: {attempt} after {task.attempts}")
        if going_on := task.assigned.keys() - task.over:
            self._violated("one attempt at a time", f"{name}-{attempt} beside {sorted(going_on)}")
        task.attempts = attempt
        task.assigned[attempt] = assignment = AttemptAssignment(
            _instant(at), runner, lease_s=data["lease_s"], **limits
        )
        self._occupying[task.org].add((name, attempt))
        self._held[runner].add((task.org, name, attempt))
        plan = self._plan(task.org)["entitlements"]
        if any(limits[size] > plan[size] for size in ("vcpu_millis", "memory_mib", "duration_s")):
            self._violated("an attempt stays within its plan", f"{name}-{attempt}: {limits}")
        if _instant(data["deadline"]) != assignment.at + timedelta(seconds=assignment.duration_s):
            self._violated(
                "a deadline follows from the duration",
                f"{name}-{attempt}: {data['deadline']}, assigned at {at}",
            )
        running, concurrency = len(self._occupying[task.org]), plan.get("concurrency")
        if concurrency is not None and running > concurrency:
            self._violated(
                "no more runs at one time than the plan allows", f"{task.org}: {running} of {concurrency}"
            )

    def _vacate(self, runner: str, org: str, name: str, attempt: int) -> None:
        """The attempt holds no slot any more."""
        self._occupying[org].discard((name, attempt))
        self._held[runner].discard((org, name, attempt))

    def _ended(self, name: str, task: TaskHistory, kind: str, data: dict[str, Any]) -> None:
        task.terminal = kind
        self.report.live -= 1
        for attempt, assignment in task.assigned.items():
            self._vacate(assignment.runner, task.org, name, attempt)
        if kind == "TaskSucceeded" and task.finished.get(data["attempt"]) != "succeeded":
            self._violated("what has succeeded was finished by its runner", f"{name}-{data['attempt']}")
        settled, ended = Counter[str](), Counter[str]()
        for settlement in data.get("settlements", ()):
            settled[settlement["meter"]] += int(settlement["settled"])
            ended[settlement["meter"]] += int(settlement["settled"]) + int(settlement["released"])
        reserved = task.reserved or {}
        if (
            ended["executions"] != reserved.get("executions", 0)
            or ended.keys() != reserved.keys()
            or not ended >= Counter(reserved)
        ):
            self._violated("reservations end with their task", f"{name}: {dict(ended)} of {reserved}")
        executions = reserved.get("executions", 0) if task.started_by(self._decided_on) else 0
        if settled["executions"] != executions:
            self._violated(
                "a task counts as an execution when it has started",
                f"{name}: {dict(settled)}, started at {task.first_start}",
            )
        if task.period is not None and not task.started:
            self._reserved[task.org, task.period] -= reserved.get("executions", 0)

    def _check_runner(self, recorded: RecordedEvent, data: dict[str, Any]) -> None:
        kind, name, attempt = recorded.type, data["task"], data["attempt"]
        task = self._tasks.get(name)
        assignment = task.assigned.get(attempt) if task is not None else None
        if task is None or assignment is None or assignment.runner != data["runner"]:
            self._violated("only the assigned runner speaks of an attempt", f"{kind} of {name}-{attempt}")
            return
        if attempt in task.finished:
            self._violated("an attempt ends once", f"{kind} of {name}-{attempt} after its end")
        match kind:
            case "TaskStarted":
                self._started(name, task, attempt)
            case "UsageRecorded":
                self._sampled(name, attempt, assignment, data, recorded.occurred_at)
            case "AttemptFinished" | "AssignmentDeclined":
                if (closing := data.get("usage")) is not None:
                    self._sampled(name, attempt, assignment, closing, recorded.occurred_at)
                if data.get("started_at") is not None:
                    self._started(name, task, attempt)
                task.finished[attempt] = data.get("outcome", "declined")
                task.over.add(attempt)
                self._vacate(assignment.runner, task.org, name, attempt)
                self._use.ended(name, attempt)

    def _sampled(
        self, name: str, attempt: int, assignment: AttemptAssignment, sample: dict[str, Any], at: str
    ) -> None:
        for rule, detail in self._use.sampled(name, attempt, assignment, sample, at):
            self._violated(rule, detail)

    def _started(self, name: str, task: TaskHistory, attempt: int) -> None:
        if attempt in task.started:
            self._violated("an attempt starts once", f"{name}-{attempt}")
        task.started.add(attempt)
        task.first_start = task.first_start or self._position


NO_PLAN: dict[str, Any] = {
    "plan_version": None,
    "entitlements": {"executions_per_month": 0, "vcpu_millis": 0, "memory_mib": 0, "duration_s": 0},
}


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
