"""Why a task waits, in words: what its runner would have to offer, which limit is reached, or how many go before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from remote_claude.contracts.billing import Entitlements
from remote_claude.contracts.waiting import Waiting
from remote_claude.scheduler.domain.queue import Queue
from remote_claude.scheduler.domain.state import OrganisationQueue, Runner, SchedulerState
from remote_claude.scheduler.domain.tasks import Needs, Queued, Submitted

COUNTED = 10_000
"""A place farther behind is not counted."""


def explain(
    organisation: OrganisationQueue,
    tasks: Sequence[str],
    runners: Mapping[str, Runner],
    renewing: AbstractSet[str],
) -> Iterator[Waiting]:
    """Why each of these tasks waits; nothing of one that does not. `renewing` are the runners that renew their leases."""
    reasons: dict[Needs, tuple[str, str]] = {}
    queued = [task for name in tasks if isinstance(task := organisation.tasks.get(name), Queued)]
    places = place_in(organisation.waiting, {task.submission.task for task in queued})
    for name in tasks:
        match organisation.tasks.get(name):
            case Submitted():
                yield Waiting(
                    task=name, code="undecided", detail="The scheduler has not decided about it yet."
                )
            case Queued(submission=submission):
                needs = submission.needs
                if needs not in reasons:
                    reasons[needs] = _reason(organisation, needs, runners, renewing)
                code, detail = reasons[needs]
                place = places.get(name)
                if code == "next" and place != 1:
                    before = f"{place - 1:,}" if place else f"More than {COUNTED:,}"
                    code, detail = "queued", f"{before} of the organisation's tasks go before it."
                yield Waiting(task=name, code=code, detail=detail, place=place)


def place_in(queue: Queue, wanted: AbstractSet[str]) -> dict[str, int]:
    """The places of `wanted` tasks in the order in which an organisation's tasks get a slot, from 1."""
    left, places = set(wanted), dict[str, int]()
    for place, task in enumerate(queue.in_order(), 1):
        if not left or place > COUNTED:
            break
        if (name := task.submission.task) in left:
            places[name] = place
            left.discard(name)
    return places


def _reason(
    organisation: OrganisationQueue, needs: Needs, runners: Mapping[str, Runner], renewing: AbstractSet[str]
) -> tuple[str, str]:
    plan = organisation.entitlements
    if plan is None:
        return (
            "no_plan",
            "The organisation has no plan. An administrator sets one: rclaude-admin plan set ORG PLAN",
        )
    joined = [
        runner
        for runner in runners.values()
        if runner.joined and not runner.drained and runner.only_for in (None, organisation.id)
    ]
    if not joined:
        return (
            "no_runner",
            "No runner is there. It starts as soon as one joins: `rclaude up` starts one on this machine.",
        )
    fitting = [runner for runner in joined if runner.fits(needs, plan, organisation.id)]
    if not fitting:
        return "no_fitting_runner", _unfit(needs, plan, joined)
    present = [runner for runner in fitting if runner.id in renewing]
    if not present:
        return (
            "runner_silent",
            f"{_runners(len(fitting))} would do, but none of them renews its lease. Look at the runner and its broker.",
        )
    if plan.concurrency is not None and organisation.attempts >= plan.concurrency:
        return (
            "concurrency",
            f"The plan {organisation.plan} allows {plan.concurrency} at one time, and {organisation.attempts} are "
            "running. It starts when one of them ends.",
        )
    slots = sum(runner.slots for runner in present)
    if not any(runner.free > 0 for runner in present):
        return (
            "slots_busy",
            f"All {slots} slots of the {_runners(len(present))} that would do are busy. It starts when one is free.",
        )
    return "next", "A slot is free: it is about to start."


def _unfit(needs: Needs, plan: Entitlements, joined: Sequence[Runner]) -> str:
    """What no runner has, and the closest that there is."""
    offering = [runner for runner in joined if needs.agent in runner.agents]
    if not offering:
        agents = sorted(frozenset().union(*(runner.agents for runner in joined)))
        return f"No runner offers the agent {needs.agent!r}. A runner that does would do; offered now: {_list(agents)}."
    if needs.provider is not None and not any(runner.provider == needs.provider for runner in offering):
        providers = sorted({runner.provider for runner in offering})
        return f"No runner of the provider {needs.provider!r} is there. Providers now: {_list(providers)}."
    here = [runner for runner in offering if needs.provider in (None, runner.provider)]
    if not any(runner.capabilities.issuperset(needs.capabilities) for runner in here):
        return f"No runner is capable of {_list(needs.capabilities)}, which the task asks for."
    return _too_large(plan.vcpu_millis, plan.memory_mib, here)


def too_large(state: SchedulerState) -> Iterator[tuple[str, str]]:
    """Plans that organisations are on and that no runner has the size for: name, and why. Nothing where no runner is."""
    joined = [
        runner
        for runner in state.runners.values()
        if runner.joined and not runner.drained and runner.only_for is None
    ]
    sizes = {
        (organisation.plan or "", plan.vcpu_millis, plan.memory_mib)
        for organisation in state.organisations.values()
        if (plan := organisation.entitlements) is not None
    }
    for name, vcpu_millis, memory_mib in sorted(sizes):
        if joined and not any(r.vcpu_millis >= vcpu_millis and r.memory_mib >= memory_mib for r in joined):
            yield name, _too_large(vcpu_millis, memory_mib, joined)


def _too_large(vcpu_millis: int, memory_mib: int, runners: Sequence[Runner]) -> str:
    largest = max(runners, key=lambda runner: (runner.vcpu_millis, runner.memory_mib))
    return (
        f"Its plan gives each task {_size(vcpu_millis, memory_mib)}, and no runner has so much for one. "
        f"The largest has {_size(largest.vcpu_millis, largest.memory_mib)}. Start a larger runner, or set "
        "RCLAUDE_RUNNER_VCPU_MILLIS and RCLAUDE_RUNNER_MEMORY_MIB; a smaller plan helps too."
    )


def _size(vcpu_millis: int, memory_mib: int) -> str:
    return f"{vcpu_millis / 1000:g} vCPU and {memory_mib} MiB"


def _runners(count: int) -> str:
    return "1 runner" if count == 1 else f"{count} runners"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
