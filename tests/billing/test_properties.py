"""The same usage gives the same invoice, to the byte, however it arrives; and no money is lost to proration or rounding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from event_examples import WINDOW
from remote_claude.billing.domain import account
from remote_claude.billing.domain.bill import Sum, bill
from remote_claude.billing.domain.invoice import as_bytes, draft
from remote_claude.billing.domain.invoice import document as invoice_document
from remote_claude.billing.domain.plans import builtin
from remote_claude.billing.domain.rating import Key
from remote_claude.billing.projections.metering import MeteringRows, fold, key_of
from remote_claude.contracts import REGISTRY, Event
from remote_claude.contracts.billing import Seller
from remote_claude.contracts.prices import Allowance, Flat, PerUnit, PriceBook
from remote_claude.contracts.runner import Cumulative, TaskStarted, UsageRecorded
from remote_claude.contracts.scheduler import Admission, RunnerLost, TaskAdmitted
from remote_claude.eventsourcing.events import RecordedEvent, timestamp

ORG, PERIOD = "org_1", "2026-11"
STARTS, ENDS = "2026-11-01T00:00:00.000000Z", "2026-12-01T00:00:00.000000Z"
BOOK = PriceBook(
    version="1",
    components=(
        Flat(amount="29000000000"),
        Allowance(meter="executions", quantity=2),
        PerUnit(meter="executions", price="333333333"),
        PerUnit(meter="vcpu_ms", price="11.7"),
        PerUnit(meter="model_nano_usd", price="1.05"),
    ),
)


def attempt(task: str, samples: Sequence[tuple[int, int]], *, lost: bool) -> list[Event]:
    """What is recorded of an attempt, in the order of its stream: each sample adds (vCPU-ms, nano-dollars)."""
    admission = Admission(period=PERIOD, plan_version="1", reservations=())
    events: list[Event] = [
        TaskAdmitted(org=ORG, task=task, admission=admission),
        TaskStarted(org=ORG, task=task, attempt=1, runner="runner_1"),
    ]
    vcpu_ms = nano_usd = 0
    for n, (more_ms, more_usd) in enumerate(samples, 1):
        vcpu_ms, nano_usd = vcpu_ms + more_ms, nano_usd + more_usd
        used = Cumulative(vcpu_ms=vcpu_ms, model_nano_usd=nano_usd)
        events.append(
            UsageRecorded(
                org=ORG, task=task, attempt=1, runner="runner_1", sequence=n, cumulative=used, **WINDOW
            )
        )
    if lost:
        events.append(
            RunnerLost(org=ORG, task=task, attempt=1, runner="runner_1", reason="lease_expired", charge=False)
        )
    return events


def invoice(events: Sequence[Event]) -> bytes:
    """The invoice's canonical JSON after these events, in this order."""
    state = MeteringRows(
        accounts={}, periods={}, segments=(), tasks={}, executions=set(), lost=set(), usage=()
    )
    for position, event in enumerate(events, 1):
        name, version, data = REGISTRY.encode(event)
        fold(
            state,
            RecordedEvent(
                position, f"ev.x.{ORG}.x.x", f"id-{position}", name, version, STARTS, data, REGISTRY
            ),
        )
    totals: defaultdict[tuple[int, int, str], list[int]] = defaultdict(lambda: [0, 0])
    for (_, _, generation, segment, _day, key), (metered, written_off, _) in state.sums.items():
        totals[generation, segment, key][0] += metered
        totals[generation, segment, key][1] += written_off
    sums = [
        Sum(
            generation=generation, segment=segment, key=key_of(key), metered=metered, written_off=written_off,
            events=0,
        )
        for (generation, segment, key), (metered, written_off) in sorted(totals.items())
    ]  # fmt: skip
    made = bill(
        org=ORG,
        period=PERIOD,
        starts_at=STARTS,
        ends_at=ENDS,
        currency="usd",
        segments=[(0, STARTS, BOOK)],
        sums=sums,
    )
    drafted = draft(made, account.initial_state, Seller(), ENDS)
    document = invoice_document(
        drafted, made, account.initial_state, Seller(), id="inv_1", number="1", issued_at=ENDS, closed_at=0
    )
    return as_bytes(document)


use = st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**11)), min_size=1, max_size=4)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Event], list[Event]]:
    """Attempts one after the other; and the same mixed, with samples repeated, and all but the last ones dropped."""
    attempts = [
        attempt(f"task_{n}", samples, lost=draw(st.booleans()))
        for n, samples in enumerate(draw(st.lists(use, min_size=1, max_size=4)))
    ]
    mixed: list[Event] = []
    waiting = [list(events) for events in attempts]
    while any(waiting):
        events = draw(st.sampled_from([events for events in waiting if events]))
        event = events.pop(0)
        is_last = not any(isinstance(later, UsageRecorded) for later in events)
        if isinstance(event, UsageRecorded) and not is_last and draw(st.booleans()):
            continue  # the runner was killed before it could send it
        mixed.append(event)
        if draw(st.booleans()):
            mixed.append(draw(st.sampled_from(mixed)))  # sent again, at once or much later
    return [event for events in attempts for event in events], mixed


@given(deliveries())
@settings(max_examples=60, deadline=None)
def test_repeated_mixed_delayed_and_lost_samples_give_the_same_invoice_to_the_byte(
    both: tuple[list[Event], list[Event]],
) -> None:
    in_order, mixed = both
    assert invoice(mixed) == invoice(in_order)


instants = st.lists(st.integers(1, 30 * 86400 * 10**6 - 1), max_size=6, unique=True).map(sorted)


@given(instants, st.sampled_from(["free", "pro", "enterprise"]), st.integers(0, 10**12))
@settings(max_examples=100, deadline=None)
def test_a_period_cut_anywhere_costs_what_the_whole_one_does(
    cuts: list[int], plan: str, nano_usd: int
) -> None:
    book = builtin().plans[plan].price_book
    opens = datetime(2026, 11, 1, tzinfo=UTC)
    starts = [STARTS, *(timestamp(opens + timedelta(microseconds=cut)) for cut in cuts)]
    used = [
        Sum(generation=0, segment=0, key=Key("model_nano_usd"), metered=nano_usd, written_off=0, events=1)
    ]
    about: dict[str, Any] = {
        "org": ORG,
        "period": PERIOD,
        "starts_at": STARTS,
        "ends_at": ENDS,
        "currency": "usd",
    }
    whole = bill(**about, segments=[(0, STARTS, book)], sums=used)
    cut = bill(**about, segments=[(n, start, book) for n, start in enumerate(starts)], sums=used)
    assert sum(line.exact for line in cut.lines) == sum(line.exact for line in whole.lines)
    assert sum((s.share for s in cut.segments), Fraction(0)) == 1
    drafted = draft(cut, account.initial_state, Seller(tax_percent={"DE": "19"}), ENDS)
    exact = sum((line.exact for line in cut.lines), Fraction(0)) / 10**7
    assert drafted.total == sum(line["amount"] for line in drafted.lines) >= 0
    assert abs(drafted.total - exact) <= Fraction(len(cut.lines), 2)
