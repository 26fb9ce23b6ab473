"""What must hold of a seed, whatever has happened in it: the invariants of the design, told from outside."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from remote_claude.access.principal import Presented
from remote_claude.access.refusals import Unauthenticated
from remote_claude.access.verifier import Verifier
from remote_claude.billing.domain.rating import Key, Segment, rate, total
from remote_claude.contracts.billing import PeriodOpened
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.runtime.admin.verification import TERMINAL, Checker
from remote_claude.runtime.admin.verified_use import MEASURES
from simulator.services import LEASE_S

if TYPE_CHECKING:
    from simulator.world import World

TAKES_NOTICE_S = 5.0
"""How long an assignment, or the end of an attempt, may be on its way between those who know and those who don't yet."""


def live(world: World) -> dict[str, RecordedEvent]:
    """Tasks that have not ended, and the last that was decided of each; the submission, if nothing was."""
    last: dict[str, RecordedEvent] = {}
    for recorded in world.broker.log._events:
        if recorded.type == "TaskSubmitted":
            last[recorded.event.task] = recorded
        elif recorded.stream.startswith("ev.scheduler."):
            if recorded.type in TERMINAL:
                last.pop(recorded.event.task, None)
            else:
                last[recorded.event.task] = recorded
    return last


def settled(world: World) -> None:
    """Two leases after the last fault: every task is terminal, queued, or running under a live lease."""
    now = asyncio.get_running_loop().time()
    held = {
        (attempt.task, attempt.attempt)
        for machine in world.runners
        if machine.program is not None
        for attempt in machine.program.executor.held
    }
    for task, recorded in live(world).items():
        since = now - world.recorded_at[recorded.position]
        match recorded.type:
            case "TaskAdmitted" | "TaskRequeued":
                continue
            case "TaskAssigned" if (task, recorded.event.attempt) in held or since < TAKES_NOTICE_S:
                continue
            case "TaskAssigned" if (over := _over(world, task, recorded.event.attempt)) is not None:
                if now - world.recorded_at[over] < TAKES_NOTICE_S:
                    continue
        world.broken.append(f"{task} is neither queued nor kept after {2 * LEASE_S} s: {recorded!r}")
    if not any(world.leads(machine) for machine in world.schedulers):
        world.broken.append("nobody leads after everything has healed")


def _over(world: World, task: str, attempt: int) -> int | None:
    for recorded in world.broker.log._events:
        ends = recorded.type in ("AttemptFinished", "AssignmentDeclined")
        if ends and (recorded.event.task, recorded.event.attempt) == (task, attempt):
            return recorded.position
    return None


def at_the_end(world: World) -> None:
    """Everything has come to rest."""
    events: list[RecordedEvent] = world.broker.log._events
    checker = Checker()
    for recorded in events:
        checker.check(recorded)
    world.broken += [f"{v.rule} (at {v.position}): {v.detail}" for v in checker.report.violations]
    world.broken += [f"{task} never ends: {recorded!r}" for task, recorded in live(world).items()]
    _acknowledged(world, events)
    _bills(world, events)
    _attempts(world, events)
    if down := [machine.name for machine in world.machines if machine.program is None]:
        world.broken.append(f"{down} do not run")
        return
    _keys(world)
    _memory(world)


def _acknowledged(world: World, events: list[RecordedEvent]) -> None:
    """What was answered with a position is there."""
    at = {recorded.position: recorded for recorded in events}
    for customer in world.customers:
        for kind, answered in (
            ("TaskSubmitted", customer.acknowledged),
            ("TaskCancellationRequested", customer.cancelled),
        ):
            for task, position in answered.items():
                found = at.get(position)
                if found is None or found.subject != task:
                    world.broken.append(
                        f"{kind} of {task} was acknowledged at {position}, where {found!r} is"
                    )
                elif kind == "TaskSubmitted" and found.type != kind:
                    world.broken.append(f"{task} was acknowledged at {position}, where {found!r} is")


def _bills(world: World, events: list[RecordedEvent]) -> None:
    """Periods are opened once, without a gap; what was metered in them is what their lines say, to the nano-dollar."""
    periods: defaultdict[str, dict[str, PeriodOpened]] = defaultdict(dict)
    samples: dict[tuple[str, str, int], dict[str, int]] = {}
    used: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    started: set[str] = set()
    admitted: dict[str, str] = {}
    months: dict[tuple[str, str, int], str] = {}
    for recorded in events:
        data = json.loads(recorded.data)
        if data.get("admission"):
            admitted[data["task"]] = data["admission"]["period"]
        month = recorded.occurred_at[:7]
        match recorded.type:
            case "PeriodOpened":
                _period(world, periods[data["org"]], recorded.event)
            case "TaskStarted" | "AttemptFinished" if (
                _starts(recorded.type, data) and data["task"] not in started
            ):
                started.add(data["task"])
                used[data["org"], admitted.get(data["task"], month)]["executions"] += 1
            case "UsageRecorded" | "AttemptFinished" if (
                sample := sample_of(recorded.type, data)
            ) is not None:
                attempt = data["org"], data["task"], data["attempt"]
                cumulative = {m: int(sample["cumulative"][m]) for m in MEASURES}
                before = samples.get(attempt, dict.fromkeys(MEASURES, 0))
                samples[attempt] = cumulative
                month = max(sample["measured_to"][:7], months.get(attempt, ""))
                months[attempt] = month
                used[data["org"], month].update({m: cumulative[m] - before[m] for m in MEASURES})
    for (org, month), quantities in used.items():
        if (period := periods[org].get(month)) is None:
            world.broken.append(f"{org} has used something in {month}, which was never opened")
            continue
        _lines(world, org, quantities, period)


def _starts(kind: str, data: dict[str, Any]) -> bool:
    return kind == "TaskStarted" or data["started_at"] is not None


def _attempts(world: World, events: list[RecordedEvent]) -> None:
    """What the log has acknowledged of an attempt's end is there, and with it all that was measured."""
    ends: dict[tuple[str, int], str] = {}
    used: dict[tuple[str, int], dict[str, int]] = {}
    for recorded in events:
        data = json.loads(recorded.data)
        if recorded.type == "AttemptFinished":
            ends[data["task"], data["attempt"]] = data["outcome"]
        if (sample := sample_of(recorded.type, data)) is not None:
            used[data["task"], data["attempt"]] = {m: int(sample["cumulative"][m]) for m in MEASURES}
    for attempt, finish in world.sandboxes.finished.items():
        if attempt not in ends:
            world.broken.append(f"{attempt} has ended as {finish.outcome}, and its end is not recorded")
        elif (
            ends[attempt] == finish.outcome
            and finish.used
            and used.get(attempt) != {m: getattr(finish.used.cumulative, m) for m in MEASURES}
        ):
            world.broken.append(f"{attempt} has used {finish.used}, and {used.get(attempt)} is recorded")


def sample_of(type: str, data: dict[str, Any]) -> dict[str, Any] | None:
    """The sample that an event carries."""
    found: dict[str, Any] | None = {"UsageRecorded": data, "AttemptFinished": data.get("usage")}.get(type)
    return found


def _period(world: World, opened: dict[str, PeriodOpened], event: PeriodOpened) -> None:
    if event.period in opened:
        world.broken.append(f"{event.org} had {event.period} opened twice")
    if opened and max(p.ends_at for p in opened.values()) != event.starts_at:
        world.broken.append(f"{event.org} has a gap, or an overlap, before {event.period}")
    if datetime.fromisoformat(event.starts_at).strftime("%Y-%m") != event.period:
        world.broken.append(f"{event.org}: {event.period} starts at {event.starts_at}")
    opened[event.period] = event


def _lines(world: World, org: str, quantities: Counter[str], period: PeriodOpened) -> None:
    segment = Segment(
        starts_at=period.starts_at,
        ends_at=period.ends_at,
        price_book=period.price_book,
        quantities={Key(meter): n for meter, n in quantities.items()},
    )
    lines = rate([segment])
    billed = {line.meter: line.quantity for line in lines if line.meter != "subscription"}
    if billed != {meter: n for meter, n in quantities.items() if n}:
        world.broken.append(f"{org} in {period.period}: {billed} is billed, {dict(quantities)} was used")
    if total(lines) != sum(line.amount_nano for line in lines):
        world.broken.append(f"{org} in {period.period}: the total is not the sum of the lines")


def _keys(world: World) -> None:
    """Every gateway admits those who have a live key, for their own organisation, and nobody with a revoked one."""
    for machine in world.gateways:
        verifier = machine.program.verifier
        for customer in world.customers:
            for key, secret in customer.live.items():
                if _who(verifier, secret) != customer.org:
                    world.broken.append(f"{machine.name} does not take {key} for {customer.org}'s")
            for secret in customer.revoked:
                if (org := _who(verifier, secret)) is not None:
                    world.broken.append(f"{machine.name} lets in a revoked key as {org}")


def _who(verifier: Verifier, secret: str) -> str | None:
    try:
        return verifier.identify(Presented(authorization=f"Bearer {secret}")).org
    except Unauthenticated:
        return None


def _memory(world: World) -> None:
    """Nothing is kept of what is over."""
    for name, left in _left(world):
        if left:
            world.broken.append(f"{name} still has {left}")


def _left(world: World) -> Any:
    for machine in world.gateways:
        yield f"{machine.name}: those who wait for decisions", machine.program.decisions._waiting
    for machine in world.runners:
        executor = machine.program.executor
        yield f"{machine.name}: attempts", executor._running
        yield f"{machine.name}: work", executor._work
    for machine in world.schedulers:
        scheduler = machine.program.scheduler
        for organisation in scheduler.state.organisations.values():
            yield f"{machine.name}: tasks of {organisation.id}", organisation.tasks
        yield f"{machine.name}: what is due", scheduler.state.due
        if (leader := scheduler.leader) is not None:
            yield f"{machine.name}: appends on their way", leader._busy
            yield f"{machine.name}: promised slots", leader._promised
            yield f"{machine.name}: expired attempts", leader._expired
            yield f"{machine.name}: leases", scheduler.leases._held
    yield "sandboxes", [s for s in world.sandboxes.all.values() if not s.over.done()]
