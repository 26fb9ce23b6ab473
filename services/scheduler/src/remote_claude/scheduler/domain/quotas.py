"""Quotas of storage and money: reserved at a task's admission, settled or released at its end. Executions are in `decide`."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from remote_claude.contracts.billing import Entitlements
from remote_claude.contracts.prices import PerUnit, PriceBook, Tiered
from remote_claude.contracts.runner import AttemptFinished
from remote_claude.contracts.scheduler import (
    EXECUTIONS,
    Reservation,
    Settlement,
    TaskAdmitted,
    TaskRejected,
)
from remote_claude.scheduler.domain.state import MODEL, STORAGE, TOTAL, OrganisationQueue
from remote_claude.scheduler.domain.tasks import Admitted, QuotaUse, Submitted

TASK_MODEL_NANO_USD = 10**9
"""What a task without a budget reserves of the model dollars: its estimate."""
TASK_STORAGE_BYTES = 64 * 2**20
"""What a task reserves of the storage: its estimate."""


class _Shown(NamedTuple):
    what: str
    scale: int
    text: str


SHOWN = {
    MODEL: _Shown("model use a month", 10**9, "${:,.2f}"),
    TOTAL: _Shown("use a month", 10**9, "${:,.2f}"),
    STORAGE: _Shown("storage", 2**30, "{:,.2f} GiB"),
}


def limits(plan: Entitlements) -> dict[str, int]:
    """The quotas that a plan bounds, besides executions, by meter."""
    bounds = {MODEL: plan.model_nano_usd, TOTAL: plan.total_nano_usd, STORAGE: plan.storage_bytes}
    return {meter: bound for meter, bound in bounds.items() if bound is not None}


def price(book: PriceBook | None, quantities: Mapping[str, int]) -> int:
    """The most that quantities can come to, in billionths: without allowances, at the dearest tier."""
    total = Fraction(0)
    for component in book.components if book is not None else ():
        if isinstance(component, PerUnit | Tiered) and component.model is None and component.token is None:
            prices = (
                [component.price] if isinstance(component, PerUnit) else [t.price for t in component.tiers]
            )
            total += max(map(Fraction, prices)) * quantities.get(component.meter, 0)
    return round(total)


def within(
    event: TaskAdmitted | TaskRejected,
    task: Submitted,
    organisation: OrganisationQueue,
    quotas: Mapping[str, int],
) -> TaskAdmitted | TaskRejected:
    """The admission with what the task reserves of `quotas`, by meter as they are taken; or the refusal.

    A plan with overage refuses nobody: its reservations are soft. A budget is reserved as a whole; an estimate takes what is left.
    """
    plan = organisation.entitlements
    if isinstance(event, TaskRejected) or plan is None or not (bounds := limits(plan)):
        return event
    wanted = _wanted(task, organisation, plan)
    reservations = []
    for meter, bound in bounds.items():
        left, quantity = bound - quotas.get(meter, 0), wanted[meter]
        if not plan.overage:
            firm = meter != STORAGE and task.submission.budget_nano_usd is not None
            if left <= 0 or (firm and quantity > left):
                return _refused(task, organisation, event.admission.period, meter, bound, max(left, 0))
            quantity = min(quantity, left)
        kind = "soft" if plan.overage else "hard"
        reservations.append(Reservation.model_validate({"meter": meter, "quantity": quantity, "kind": kind}))
    admission = event.admission
    more = admission.model_copy(update={"reservations": (*admission.reservations, *reservations)})
    return event.model_copy(update={"admission": more})


def _wanted(task: Submitted, organisation: OrganisationQueue, plan: Entitlements) -> dict[str, int]:
    """What a task may use, by meter: of compute as much as its time allows."""
    budget = task.submission.budget_nano_usd
    model = TASK_MODEL_NANO_USD if budget is None else budget
    milliseconds = min(plan.duration_s, task.submission.timeout_s or plan.duration_s) * 1000
    compute = {
        EXECUTIONS: 1,
        "vcpu_ms": milliseconds * plan.vcpu_millis // 1000,
        "gib_ms": milliseconds * plan.memory_mib // 1024,
        MODEL: model,
    }
    return {MODEL: model, TOTAL: price(organisation.price_book, compute), STORAGE: TASK_STORAGE_BYTES}


def _refused(
    task: Submitted, organisation: OrganisationQueue, period: str, meter: str, bound: int, left: int
) -> TaskRejected:
    shown = SHOWN[meter]
    allowed, rest = (shown.text.format(n / shown.scale) for n in (bound, left))
    budget = " Submit it with a smaller --budget." if left and meter != STORAGE else ""
    return TaskRejected(
        task=task.submission.task,
        org=task.submission.org,
        code="quota_exceeded",
        detail=(
            f"The plan {organisation.plan} allows {allowed} of {shown.what}, and {rest} of it is neither used nor reserved"
            f"{'' if meter == STORAGE else f' in {period}'}.{budget} "
            f"{organisation.upgrade or 'A larger plan helps at once: your operator sets it.'}"
        ),
    )


def settlement(task: Admitted, reserved: Reservation) -> Settlement:
    """How a reservation ends: what was used, also where that is more, and what is free again."""
    used = getattr(task.used, reserved.meter) if task.executed else 0
    return Settlement(meter=reserved.meter, settled=used, released=max(0, reserved.quantity - used))


def used_by(event: AttemptFinished, book: PriceBook | None) -> QuotaUse:
    """What an attempt has used of the quotas."""
    total = event.usage.total if event.usage is not None else None
    storage = (event.result.size if event.result is not None else 0) + (
        event.output.size if event.output is not None else 0
    )
    if total is None:
        return QuotaUse(storage_bytes=storage)
    quantities = {meter: getattr(total, meter) for meter in ("vcpu_ms", "gib_ms", "egress_bytes", MODEL)}
    return QuotaUse(
        model_nano_usd=total.model_nano_usd,
        total_nano_usd=price(book, quantities | {EXECUTIONS: 1}),
        storage_bytes=storage,
    )
