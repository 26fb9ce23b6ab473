"""How the view `billing_usage` folds events: which period, segment and generation a quantity belongs to, and the sums."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from remote_claude.billing.domain.rating import Key
from remote_claude.billing.projections.tables import GROUP_KEY, GROUP_METERS
from remote_claude.contracts.billing import PeriodClosed, PeriodOpened, PlanChanged, StorageMeasured
from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.contracts.periods import CALENDAR, period_at
from remote_claude.contracts.runner import (
    AttemptFinished,
    Cumulative,
    TaskStarted,
    UsageRecorded,
    UsageSample,
)
from remote_claude.contracts.scheduler import Admission, RunnerLost, TaskAdmitted, TaskAssigned
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.tables import Row

COMPUTE = ("vcpu_ms", "gib_ms", "egress_bytes")
EXECUTIONS, STORAGE = "executions", "storage_byte_days"
NO_ACCOUNT = {"anchor": CALENDAR}

Attempt = tuple[str, str, int]
Quantities = dict[str, int]
"""By the text of a key."""


class SumPlace(NamedTuple):
    """Where a quantity is summed."""

    org: str
    period: str
    generation: int
    segment: int


def key_text(key: Key) -> str:
    """A key as one text: the meter alone, or meter, model and token."""
    return key.meter if key.model is None and key.token is None else "|".join(part or "" for part in key)


def key_of(text: str) -> Key:
    """The inverse of `key_text`."""
    meter, *more = text.split("|")
    return Key(meter, *(part or None for part in more))


def stored_by(org: str) -> Attempt:
    """What the rows of an organisation's storage have in place of an attempt."""
    return org, "", 0


def flatten(used: Cumulative) -> Quantities:
    """Everything an attempt has used, by key. What its customer's own credential paid for is apart."""
    found: Counter[str] = Counter({meter: getattr(used, meter) for meter in COMPUTE})
    found["model_nano_usd"] = used.model_nano_usd
    found["customer_model_nano_usd"] = used.customer_model_nano_usd
    for use in used.model_use:
        meter = "model_tokens" if use.paid_by == "operator" else "customer_model_tokens"
        for kind, count in use.quantities.items():
            found[f"{meter}|{use.model}|{kind}"] += count  # as `key_text`, at a tenth of its time
    return {key: count for key, count in found.items() if count}


class MeteringRows:
    """The rows that one batch of events touches."""

    def __init__(
        self,
        *,
        accounts: dict[str, Row],
        periods: dict[tuple[str, str], Row],
        segments: Iterable[Row],
        tasks: dict[tuple[str, str], Row],
        executions: set[tuple[str, str]],
        lost: set[Attempt],
        usage: Sequence[Row],
    ) -> None:
        self.accounts, self.periods, self.tasks = accounts, periods, tasks
        self.executions, self.lost = executions, lost
        self.segments: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for row in segments:
            self.segments[row["org"], row["period"]].append(row["starts_at"])
        self.changed_periods: set[tuple[str, str]] = set()
        self.changed_tasks: set[tuple[str, str]] = set()
        self.new_segments: list[Row] = []
        self.new_executions: list[Row] = []
        self.new_lost: list[Row] = []
        self.sums: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
        """By place, day and key: metered, written off, events."""
        self._charged: Counter[tuple[str, str, str, str, str]] = Counter()
        """By organisation, period, task, day and key, without what was written off: `expand` adds it up by group."""
        self.groups: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        """By organisation, dimension, day, group and period: each meter."""
        self.models: Counter[tuple[str, ...]] = Counter()
        """By organisation, day, model and kind of token."""
        self.used: defaultdict[tuple[str, str], list[tuple[str, str, int]]] = defaultdict(list)
        """By task: days, meters and quantities."""
        self._usage: dict[tuple[Attempt, tuple[str, int, int, str]], Row] = {}
        self._of_attempt: defaultdict[Attempt, list[Row]] = defaultdict(list)
        self._changed: dict[int, Row] = {}
        for row in sorted(usage, key=lambda row: int(row["position"])):
            attempt = row["org"], row["task"], row["attempt"]
            self._usage[attempt, _slot(row)] = row
            self._of_attempt[attempt].append(row)

    def place(self, org: str, instant: str, period: str | None = None) -> SumPlace:
        """The period of an instant, or the one named; its segment at that instant, and its generation."""
        if period is None:
            anchor = self.accounts.get(org, NO_ACCOUNT)["anchor"]
            period = period_at(anchor, datetime.fromisoformat(instant)).id
        starts = self.segments.get((org, period), ())
        segment = max(0, sum(start <= instant for start in starts) - 1)
        return SumPlace(org, period, self.generation(org, period), segment)

    def generation(self, org: str, period: str) -> int:
        row = self.periods.get((org, period))
        return row["generation"] if row is not None else 0

    def next_generation(self, org: str, period: str) -> None:
        """What is metered from here on is late."""
        if (row := self.periods.get((org, period))) is not None:
            row["generation"] += 1
            self.changed_periods.add((org, period))

    def sum(
        self,
        place: SumPlace,
        task: str,
        day: str,
        key: str,
        metered: int,
        written_off: int = 0,
        events: int = 0,
    ) -> None:
        """Add to the sums of the period, and to what `expand` adds up."""
        sums = self.sums[(*place, day, key)]
        sums[0] += metered
        sums[1] += written_off
        sums[2] += events
        if quantity := metered - written_off:
            self._charged[place.org, place.period, task, day, key] += quantity

    def expand(self) -> None:
        """Add up what this batch has charged by the groups that each task belongs to, by model, and by task.

        Once for a batch: an attempt has many samples in one.
        """
        for (org, period, task, day, key), quantity in self._charged.items():
            meter, *detail = key.split("|")
            for dimension, name in _groups(self.tasks.get((org, task))):
                self.groups[org, dimension, day, name, period][meter] += quantity
            if detail:
                model, token = detail
                self.models[org, day, model, token] += quantity
            self.used[org, task].append((day, meter, quantity))

    def add_to(
        self,
        totals: dict[Any, Row],
        groups: dict[Any, Row],
        models: dict[Any, Row],
        used: dict[Any, Row],
    ) -> None:
        """Add what this batch has summed to the rows that are there."""
        for group, quantities in self.groups.items():
            row = groups.setdefault(
                group, dict(zip(GROUP_KEY, group, strict=True)) | dict.fromkeys(GROUP_METERS, 0)
            )
            for meter, quantity in quantities.items():
                row[meter] += quantity
        for model, quantity in self.models.items():
            named = dict(zip(("org", "day", "model", "token"), model, strict=True))
            models.setdefault(model, named | {"quantity": Decimal(0)})["quantity"] += quantity
        for (org, task), parts in self.used.items():
            row = used.setdefault((org, task), {"org": org, "task": task, "day": "", "quantities": {}})
            for day, meter, quantity in parts:
                row["day"] = max(row["day"], day)
                row["quantities"][meter] = row["quantities"].get(meter, 0) + quantity
            row["model_nano_usd"] = row["quantities"].get("model_nano_usd", 0)
        names = ("org", "period", "generation", "segment", "day", "key")
        for key, (metered, written_off, events) in self.sums.items():
            zero = {"metered": Decimal(0), "written_off": Decimal(0), "events": 0}
            row = totals.setdefault(key, dict(zip(names, key, strict=True)) | zero)
            row["metered"] += metered
            row["written_off"] += written_off
            row["events"] += events

    def sample(self, recorded: RecordedEvent, attempt: Attempt, sample: UsageSample) -> None:
        """Count what was used since the attempt's last sample. A repeated or late sample changes nothing."""
        rows = self._of_attempt[attempt]
        last = rows[-1] if rows else None
        if last is not None and last["sequence"] >= sample.sequence:
            return
        place, day = self.place(attempt[0], sample.measured_to), sample.measured_to[:10]
        if last is not None and day < last["day"]:  # a clock that goes back takes nothing back
            place = self.place(attempt[0], "", last["period"])._replace(segment=last["segment"])
            day = last["day"]
        now, before = flatten(sample.total), last["cumulative"] if last is not None else {}
        used = {k: n for k in now.keys() | before.keys() if (n := now.get(k, 0) - before.get(k, 0))}
        free = {k: n for k, n in used.items() if k in COMPUTE} if attempt in self.lost else {}
        row = self._row(recorded, attempt, place, day)
        row["sequence"], row["cumulative"] = sample.sequence, now
        self._count(row, place, used, free)

    def store(self, recorded: RecordedEvent, measured: StorageMeasured) -> None:
        """Count what is stored on a day. It is shared: it belongs to no task, and so to the group without a name."""
        attempt = stored_by(measured.org)
        if any(row["day"] >= measured.day for row in self._of_attempt[attempt]):
            return
        place = self.place(measured.org, measured.measured_at)
        row = self._row(recorded, attempt, place, measured.day)
        row["sequence"], row["cumulative"] = 0, {}
        self._count(row, place, {STORAGE: measured.size} if measured.size else {}, {})

    def lose(self, recorded: RecordedEvent, attempt: Attempt) -> None:
        """Take back what was metered of an attempt's compute. What is invoiced already is taken back as late usage."""
        if attempt in self.lost:
            return
        self.lost.add(attempt)
        self.new_lost.append(dict(zip(("org", "task", "attempt"), attempt, strict=True)))
        for row in list(self._of_attempt[attempt]):
            free = {k: n for k, n in row["metered"].items() if k in COMPUTE}
            place = SumPlace(
                attempt[0], row["period"], self.generation(attempt[0], row["period"]), row["segment"]
            )
            if place.generation != row["generation"]:
                sequence, cumulative = row["sequence"], row["cumulative"]
                row = self._row(recorded, attempt, place, row["day"])
                row["sequence"], row["cumulative"] = sequence, cumulative
            self._changed[id(row)] = row
            self._count(row, place, {}, free)

    def _row(self, recorded: RecordedEvent, attempt: Attempt, place: SumPlace, day: str) -> Row:
        slot = (place.period, place.segment, place.generation, day)
        row = self._usage.get((attempt, slot))
        if row is None:
            row = dict(zip(("org", "task", "attempt"), attempt, strict=True))
            row |= {"period": place.period, "segment": place.segment, "generation": place.generation}
            row |= {"day": day, "metered": {}, "written_off": {}, "meters": []}
            self._usage[attempt, slot] = row
        else:
            self._of_attempt[attempt].remove(row)
        self._of_attempt[attempt].append(row)  # the last one has the last sample
        row["event_id"], row["position"] = recorded.event_id, recorded.position
        self._changed[id(row)] = row
        return row

    def _count(self, row: Row, place: SumPlace, metered: Quantities, written_off: Quantities) -> None:
        counted, taken_back = row["metered"], row["written_off"]
        for key in metered.keys() | written_off.keys():
            known = counted.get(key, 0) - taken_back.get(key, 0)
            more, less = metered.get(key, 0), written_off.get(key, 0)
            if key in metered:
                counted[key] = counted.get(key, 0) + more
            if key in written_off:
                taken_back[key] = taken_back.get(key, 0) + less
            events = bool(known + more - less) - bool(known)
            self.sum(place, row["task"], row["day"], key, more, less, events)

    def changed_usage(self) -> Iterable[Row]:
        """The rows of attempts that this batch has changed."""
        for row in self._changed.values():
            row["meters"] = sorted({key.split("|")[0] for key in row["metered"] if _counts(row, key)})
        return self._changed.values()


def _groups(task: Row | None) -> Iterable[tuple[str, str]]:
    """Each dimension of a task, and the group that it belongs to there: of labels one for each."""
    for dimension in ("person", "team", "repository", "agent"):
        yield dimension, (task[dimension] if task is not None else None) or ""
    labels = task["labels"] if task is not None else {}
    for label in [f"{name}={value}" for name, value in labels.items()] or [""]:
        yield "label", label


def _slot(row: Row) -> tuple[str, int, int, str]:
    return row["period"], row["segment"], row["generation"], row["day"]


def _counts(row: Row, key: str) -> bool:
    """Whether the row's event is one that a line is the sum of."""
    return bool(row["metered"].get(key, 0) - row["written_off"].get(key, 0))


def fold(state: MeteringRows, recorded: RecordedEvent) -> None:
    """One event, in its turn."""
    match recorded.event:
        case UsageRecorded() as e:
            state.sample(recorded, (e.org, e.task, e.attempt), e)
        case AttemptFinished() as e:
            if e.started_at is not None:
                _start(state, recorded, e.org, e.task)
            if e.usage is not None:
                state.sample(recorded, (e.org, e.task, e.attempt), e.usage)
        case TaskStarted() as e:
            _start(state, recorded, e.org, e.task)
        case RunnerLost(charge=False) as e:
            state.lose(recorded, (e.org, e.task, e.attempt))
        case TaskSubmitted() as e:
            _submit(state, e)
        case TaskAdmitted() as e:
            _admit(state, recorded, e.org, e.task, e.admission)
        case TaskAssigned() as e:
            if e.admission is not None:
                _admit(state, recorded, e.org, e.task, e.admission)
            if (row := state.tasks.get((e.org, e.task))) is not None:
                row["provider"] = e.provider
                state.changed_tasks.add((e.org, e.task))
        case PlanChanged() as e:
            _change_plan(state, recorded, e)
        case PeriodOpened() as e:
            _open(state, e)
        case StorageMeasured() as e:
            state.store(recorded, e)
        case PeriodClosed() as e:
            state.next_generation(e.org, e.period)


def _submit(state: MeteringRows, e: TaskSubmitted) -> None:
    state.tasks[e.org, e.task] = {
        "org": e.org, "task": e.task, "person": e.user, "team": e.team, "agent": e.agent, "repository": e.repository_hash,
        "labels": dict(e.label_hashes), "provider": None, "started_by": e.started_by, "period": None, "admitted_at": None,
    }  # fmt: skip
    state.changed_tasks.add((e.org, e.task))


def _admit(state: MeteringRows, recorded: RecordedEvent, org: str, task: str, admission: Admission) -> None:
    row = state.tasks.get((org, task))
    if row is None:  # its submission can't be read
        row = {
            "org": org,
            "task": task,
            "person": None,
            "team": None,
            "agent": None,
            "repository": None,
            "labels": {},
            "provider": None,
            "started_by": None,
        }
        state.tasks[org, task] = row
    row |= {"period": admission.period, "admitted_at": recorded.occurred_at}
    state.changed_tasks.add((org, task))


def _start(state: MeteringRows, recorded: RecordedEvent, org: str, task: str) -> None:
    if (org, task) in state.executions:
        return
    state.executions.add((org, task))
    known = state.tasks.get((org, task)) or {}
    place = state.place(org, known.get("admitted_at") or recorded.occurred_at, known.get("period"))
    state.new_executions.append(
        {
            **place._asdict(), "task": task, "day": recorded.occurred_at[:10],
            "event_id": recorded.event_id, "position": recorded.position,
        }
    )  # fmt: skip
    state.sum(place, task, recorded.occurred_at[:10], EXECUTIONS, 1, events=1)


def _change_plan(state: MeteringRows, recorded: RecordedEvent, e: PlanChanged) -> None:
    effective_at = e.effective_at or recorded.occurred_at
    known = state.accounts.get(e.org)
    state.accounts[e.org] = {
        "org": e.org, "plan": e.plan, "plan_version": e.plan_version, "anchor": e.anchor,
        "opened_at": known["opened_at"] if known is not None else effective_at,
        "entitlements": e.entitlements.model_dump(mode="json"),
    }  # fmt: skip
    period = period_at(e.anchor, datetime.fromisoformat(effective_at)).id
    starts = state.segments.get((e.org, period))
    if starts and e.price_book is not None and e.proration == "seconds" and effective_at > starts[-1]:
        _add_segment(state, e.org, period, effective_at, e.plan, e.price_book.model_dump(mode="json"))


def _open(state: MeteringRows, e: PeriodOpened) -> None:
    if (e.org, e.period) in state.periods:
        return
    state.periods[e.org, e.period] = {
        "org": e.org, "period": e.period, "starts_at": e.starts_at, "ends_at": e.ends_at,
        "currency": e.currency, "generation": 0,
    }  # fmt: skip
    state.changed_periods.add((e.org, e.period))
    account = state.accounts.get(e.org)
    opened_at = account["opened_at"] if account is not None else ""
    starts_at = opened_at if e.starts_at < opened_at < e.ends_at else e.starts_at
    _add_segment(state, e.org, e.period, starts_at, e.plan, e.price_book.model_dump(mode="json"))


def _add_segment(state: MeteringRows, org: str, period: str, starts_at: str, plan: str, book: Row) -> None:
    starts = state.segments[org, period]
    state.new_segments.append(
        {
            "org": org, "period": period, "number": len(starts), "starts_at": starts_at, "plan": plan,
            "price_book": book,
        }
    )  # fmt: skip
    starts.append(starts_at)
