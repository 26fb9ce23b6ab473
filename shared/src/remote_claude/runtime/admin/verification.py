"""An independent reader of the raw log: it checks what must always hold, and shares no code with any service's fold."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.log import EventLog

TERMINAL = {"TaskSucceeded", "TaskFailed", "TaskCancelled", "TaskTimedOut", "TaskRejected"}
WEBHOOK_OUTCOMES = {"WebhookDelivered", "WebhookFailed"}
MEASURES = ("vcpu_ms", "gib_ms", "egress_bytes", "model_nano_usd")
KEPT_VIOLATIONS = 20


@dataclass(frozen=True, slots=True)
class Violation:
    """What does not hold, and the position at which it stopped to hold."""

    rule: str
    position: int
    detail: str


@dataclass(slots=True)
class TaskHistory:
    """What has been said of a task. `first_start` is a position; `over` are attempts that can't go on."""

    org: str
    period: str | None = None
    attempts: int = 0
    runners: dict[int, str] = field(default_factory=dict)
    started: set[int] = field(default_factory=set)
    first_start: int | None = None
    finished: dict[int, str] = field(default_factory=dict)
    over: set[int] = field(default_factory=set)
    terminal: str | None = None

    def started_by(self, position: int) -> bool:
        return self.first_start is not None and self.first_start <= position


@dataclass(slots=True)
class Report:
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


async def verify(log: EventLog) -> Report:
    """Read the whole log once and check every rule on the way."""
    checker = Checker()
    async for batch in log.read():
        for recorded in batch:
            checker.check(recorded)
    return checker.report


class Checker:
    """The rules, folded over raw events in log order. A decision is held against what it was decided on: its cause."""

    def __init__(self) -> None:
        self.report = Report()
        self._position = 0
        self._decided_on = 0
        self._ids: set[str] = set()
        self._causes: dict[str, int] = {}
        self._tasks: dict[str, TaskHistory] = {}
        self._limits: defaultdict[str, list[tuple[int, int | None]]] = defaultdict(list)
        self._reserved: Counter[tuple[str, str]] = Counter()
        self._samples: dict[tuple[str, int], tuple[int, dict[str, Any]]] = {}
        self._hooks: dict[str, str] = {}
        self._told: set[tuple[str, str]] = set()

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
            case "gateway":
                self._check_gateway(recorded.type, data)
            case "scheduler":
                self._check_scheduler(recorded.type, data)
            case "runner" if "task" in data:
                self._check_runner(recorded.type, data)
            case "billing" if recorded.type == "PlanChanged":
                limit = data["entitlements"]["executions_per_month"]
                self._limits[data["org"]].append((recorded.position, limit))

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
            self._violated("an organisation's events stand in its own streams", f"{org} in {recorded.stream}")

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
            self._violated("a webhook hears of its own organisation", f"{kind} of {hook} in {data['org']}")
        if kind in WEBHOOK_OUTCOMES:
            name = data["task"]
            task = self._tasks.get(name)
            if task is None or task.org != data["org"] or task.terminal is None:
                self._violated("a webhook hears of a task that has ended", f"{kind} of {name} for {hook}")
            if (name, hook) in self._told:
                self._violated("what a webhook was told has one outcome", f"{kind} of {name} for {hook}")
            self._told.add((name, hook))

    def _check_scheduler(self, kind: str, data: dict[str, Any]) -> None:
        name = data["task"]
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
                self._admitted(name, task, data["period"])
            case "TaskAssigned":
                self._assigned(name, task, data)
            case "RunnerLost":
                task.over.add(data["attempt"])
            case _ if kind in TERMINAL:
                self._ended(name, task, kind, data)

    def _admitted(self, name: str, task: TaskHistory, period: str) -> None:
        if task.period is not None:
            self._violated("a task is admitted once", name)
            return
        task.period = period
        self._reserved[task.org, period] += 1
        reserved, limit = self._reserved[task.org, period], self._limit(task.org)
        if limit is not None and reserved > limit:
            self._violated(
                "no more is admitted than the plan allows", f"{task.org} in {period}: {reserved} of {limit}"
            )

    def _limit(self, org: str) -> int | None:
        """The executions a month that were known when it was decided; none without a plan."""
        known = [limit for position, limit in self._limits[org] if position <= self._decided_on]
        return known[-1] if known else 0

    def _assigned(self, name: str, task: TaskHistory, data: dict[str, Any]) -> None:
        attempt = data["attempt"]
        if task.period is None:
            self._violated("only what was admitted is assigned", f"{name}-{attempt}")
        if attempt <= task.attempts:
            self._violated("attempt numbers rise", f"{name}: {attempt} after {task.attempts}")
        if going_on := task.runners.keys() - task.over:
            self._violated("one attempt at a time", f"{name}-{attempt} beside {sorted(going_on)}")
        task.attempts = attempt
        task.runners[attempt] = data["runner"]

    def _ended(self, name: str, task: TaskHistory, kind: str, data: dict[str, Any]) -> None:
        task.terminal = kind
        self.report.live -= 1
        if kind == "TaskSucceeded" and task.finished.get(data["attempt"]) != "succeeded":
            self._violated("what has succeeded was finished by its runner", f"{name}-{data['attempt']}")
        executed = bool(data.get("executed", False))
        if executed != task.started_by(self._decided_on):
            self._violated(
                "a task counts as an execution when it has started", f"{name}: executed is {executed}"
            )
        if task.period is not None and not task.started:
            self._reserved[task.org, task.period] -= 1

    def _check_runner(self, kind: str, data: dict[str, Any]) -> None:
        name, attempt = data["task"], data["attempt"]
        task = self._tasks.get(name)
        if task is None or task.runners.get(attempt) != data["runner"]:
            self._violated("only the assigned runner speaks of an attempt", f"{kind} of {name}-{attempt}")
            return
        if attempt in task.finished:
            self._violated("an attempt ends once", f"{kind} of {name}-{attempt} after its end")
        match kind:
            case "TaskStarted":
                if attempt in task.started:
                    self._violated("an attempt starts once", f"{name}-{attempt}")
                task.started.add(attempt)
                task.first_start = task.first_start or self._position
            case "UsageRecorded":
                self._sampled(name, attempt, data)
            case "AttemptFinished" | "AssignmentDeclined":
                if (closing := data.get("usage")) is not None:
                    self._sampled(name, attempt, closing)
                task.finished[attempt] = data.get("outcome", "declined")
                task.over.add(attempt)
                self._samples.pop((name, attempt), None)

    def _sampled(self, name: str, attempt: int, data: dict[str, Any]) -> None:
        sequence, last = self._samples.get((name, attempt), (0, {}))
        if data["sequence"] != sequence + 1:
            self._violated(
                "samples are numbered without a gap", f"{name}-{attempt}: {data['sequence']} after {sequence}"
            )
        for measure in MEASURES:
            if int(data["cumulative"][measure]) < int(last.get(measure, 0)):
                self._violated("cumulative use never falls", f"{name}-{attempt}: {measure}")
        self._samples[name, attempt] = data["sequence"], data["cumulative"]
