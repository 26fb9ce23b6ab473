"""Who gets the free slots: fair between organisations, then by priority, then by age."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Mapping, Sequence
from itertools import chain
from types import MappingProxyType

from remote_claude.contracts.billing import Entitlements
from remote_claude.scheduler.domain.decide import Moment
from remote_claude.scheduler.domain.draft import Draft, draft
from remote_claude.scheduler.domain.state import Runner, SchedulerState
from remote_claude.scheduler.domain.tasks import Ended, Needs


class Slots:
    """Free slots by runner. They only get fewer, so what found no place once finds none later."""

    def __init__(self, runners: Mapping[str, Runner], free: Mapping[str, int]) -> None:
        self._runners = runners
        self._free = {id: n for id, n in free.items() if n > 0}
        self._with_own = {runners[id].only_for for id in self._free} - {None}
        """Organisations that have a machine of their own here."""
        self._unschedulable: set[tuple[Needs, int, int, str | None]] = set()

    def __bool__(self) -> bool:
        return bool(self._free)

    def take(self, needs: Needs, plan: Entitlements, org: str) -> Runner | None:
        """Occupy a slot of the emptiest runner that fits; None when there is none."""
        shape = needs, plan.vcpu_millis, plan.memory_mib, org if org in self._with_own else None
        if shape in self._unschedulable:
            return None
        fitting = (id for id in self._free if self._runners[id].fits(needs, plan, org))
        id = max(fitting, key=self._free.__getitem__, default=None)
        if id is None:
            self._unschedulable.add(shape)
            return None
        self._free[id] -= 1
        if not self._free[id]:
            del self._free[id]
        return self._runners[id]


def decide_round(
    state: SchedulerState,
    moment: Moment,
    free: Mapping[str, int],
    lease_s: int,
    *,
    busy: Container[str] = (),
    expired: Mapping[str, Sequence[Ended]] = MappingProxyType({}),
) -> dict[str, Draft]:
    """Everything that can be decided now: at most one append for each organisation that is not `busy`.

    `free` slots are those of runners that are there; `expired` are attempts that their runner no longer keeps.
    """
    drafts = {
        id: draft(state.organisations[id], moment, expired.get(id, ()))
        for id in {**state.due, **dict.fromkeys(expired)}
        if id not in busy
    }
    dispatch(state, drafts, Slots(state.runners, free), busy, moment, lease_s)
    return {id: decided for id, decided in drafts.items() if decided.events}


def dispatch(
    state: SchedulerState,
    drafts: dict[str, Draft],
    slots: Slots,
    busy: Container[str],
    moment: Moment,
    lease_s: int,
) -> None:
    """Add assignments to `drafts`, until slots or tasks run out.

    Organisations take turns in rotation, as many assignments a turn as their plan's weight. Those that are `busy`
    keep their turn for later.
    """
    new = [id for id, decided in drafts.items() if decided.queued and id not in state.rotation]
    turns = chain((id for id in state.rotation if id not in busy), new)
    again: deque[str] = deque()
    while slots:
        if (id := next(turns, None)) is not None:
            organisation = state.organisations[id]
            if id not in drafts:
                drafts[id] = Draft(organisation, moment)
            assignments = organisation.credit
        elif again:
            assignments = state.organisations[id := again.popleft()].weight
        else:
            return
        if all(assign_one(drafts[id], slots, lease_s) for _ in range(assignments)):
            again.append(id)


def assign_one(draft: Draft, slots: Slots, lease_s: int) -> bool:
    """Assign the first task of the organisation that finds a slot; False when there is none."""
    plan = draft.organisation.entitlements
    if plan is None or not draft.has_capacity:
        return False
    for task in draft.heads:
        if (runner := slots.take(task.submission.needs, plan, draft.organisation.id)) is not None:
            draft.heads.advance(task.submission.needs)
            draft.assign(task, runner, lease_s)
            return True
    return False
