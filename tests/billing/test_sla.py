"""Service levels of a month: what the log and the edge say, and the credit that follows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from books import Books, books
from event_examples import EXAMPLES
from prometheus_server import running_prometheus
from remote_claude.billing import sla
from remote_claude.billing.domain.invoicing import GrantCredit
from remote_claude.contracts.base import Event
from remote_claude.contracts.billing import CreditGranted
from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.contracts.runner import TaskStarted
from remote_claude.contracts.scheduler import RunnerLost, TaskCancelled, TaskFailed, TaskSucceeded

SUBMITTED = next(event for event in EXAMPLES if isinstance(event, TaskSubmitted))
ORG = "org_1"
NOVEMBER = sla.ServiceMonth.of("2026-11")
FIRST = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
async def ledger(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Books]:
    async with books(postgres_dsn, tmp_path / "objects") as made:
        yield made


def folded(*events: tuple[Event, datetime]) -> sla.TasksServed:
    fold = sla.MonthFold(NOVEMBER)
    for event, at in events:
        fold.apply(event, at)
    return fold.found.get(ORG, sla.TasksServed())


def ended(task: str, *, charge: bool) -> list[tuple[Event, datetime]]:
    """A task that started after two seconds and lost its last attempt."""
    submitted = SUBMITTED.model_copy(update={"task": task, "org": ORG})
    about = {"task": task, "org": ORG}
    return [
        (submitted, FIRST),
        (TaskStarted(**about, attempt=1, runner="runner_1"), FIRST + timedelta(seconds=2)),
        (RunnerLost(**about, attempt=1, runner="runner_1", reason="x", charge=charge), FIRST),
        (TaskFailed(**about, attempt=1, reason=sla.EXHAUSTED), FIRST + timedelta(seconds=9)),
    ]


def test_only_what_the_service_failed_in_the_month_counts_against_it() -> None:
    others: list[tuple[Event, datetime]] = [
        (TaskSucceeded(task="task_3", org=ORG), FIRST),
        (TaskFailed(task="task_4", org=ORG, reason="exit_code"), FIRST),
        (TaskCancelled(task="task_5", org=ORG), FIRST),
        (TaskSucceeded(task="task_6", org=ORG), NOVEMBER.ends_at),
    ]
    served = folded(*ended("task_1", charge=False), *ended("task_2", charge=True), *others)

    assert (served.ended, served.failed_by_service) == (4, 1)
    assert served.availability == Fraction(3, 4)
    assert served.waits == [2.0, 2.0]
    assert served.within(1.9) == 0
    assert folded().availability == 1


def test_the_lowest_tier_that_fits_decides_and_a_missed_objective_is_not_rounded_away() -> None:
    terms = sla.CreditTerms()
    shares = ("1", "999/1000", "99899/100000", "989/1000", "9/10")
    assert [terms.credit_percent(Fraction(share)) for share in shares] == [0, 0, 10, 25, 50]
    assert sla.percent(Fraction(9989999, 10000000)) == "99.899 %"
    with pytest.raises(sla.InvalidTerms):
        sla.parse('plans = "enterprise"')


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[str]:
    """It has seen 10,000 requests in November, 20 of them failed."""
    samples = []
    for status, number in (("200", 9980), ("503", 20)):
        labels = f'{{http_route="/v1/tasks",http_response_status_code="{status}"}}'
        for step in range(0, 601, 30):
            at, value = int(FIRST.timestamp()) + step, number * step // 600
            samples.append(f"http_server_request_duration_seconds_count{labels} {value} {at}")
    with running_prometheus(tmp_path, samples) as url:
        yield url


async def test_a_missed_objective_is_credited_once(ledger: Books, prometheus: str) -> None:
    await ledger.accounts.open_account(ORG, "enterprise")
    await ledger.accounts.open_account("org_2", "pro")
    await ledger.run_task(ORG, vcpu_ms=10**9)
    await ledger.read()
    at_edge = await sla.edge(prometheus, NOVEMBER, FIRST + timedelta(seconds=600))
    assert float(at_edge.availability) == pytest.approx(0.998, abs=1e-6)

    found = await sla.reports(ledger.pool, NOVEMBER, sla.CreditTerms(), {}, at_edge, [ORG, "org_2"])
    [enterprise, pro] = found
    assert enterprise.charged_nano > 0
    assert enterprise.credit_nano == enterprise.charged_nano // 10
    assert pro.credit("operator") is None  # its plan promises nothing
    for _ in range(2):
        granted = enterprise.credit("operator")
        assert granted is not None
        await ledger.invoices.handle(ORG, GrantCredit(granted=granted))
    events = [r.event async for batch in ledger.log.read() for r in batch]
    [credit] = [e for e in events if isinstance(e, CreditGranted)]
    assert credit.reason == "availability of 99.800 % in 2026-11"
    with pytest.raises(sla.EdgeUnknown):
        await sla.edge(prometheus, sla.ServiceMonth.of("2025-01"), FIRST)
