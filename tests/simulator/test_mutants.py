"""The simulator finds what is planted: else that it finds nothing would say nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from remote_claude.access.verifier import Verifier
from remote_claude.billing.domain import account
from remote_claude.contracts import REGISTRY
from remote_claude.contracts.auth import ApiKeyRevoked
from remote_claude.contracts.runner import UsageRecorded
from remote_claude.contracts.scheduler import TaskRequeued
from remote_claude.eventsourcing.events import NewEvent
from remote_claude.eventsourcing.memory import InMemoryEventLog
from remote_claude.gateway.api.submissions import Submissions
from remote_claude.gateway.handlers import Decisions
from remote_claude.runner import handlers
from remote_claude.runner.assignments import Executor
from remote_claude.runner.domain import attempt
from remote_claude.scheduler.domain import decide
from remote_claude.scheduler.domain.draft import Draft
from remote_claude.scheduler.domain.known_leases import Leases
from simulator.world import simulate

SEEDS = range(1, 61)
Patch = pytest.MonkeyPatch


class Unguarded(InMemoryEventLog):
    """Every append is accepted, whatever its guard."""

    async def append(self, stream: str, events: Sequence[NewEvent], *, expected_position: int) -> int:
        history = await self.read_stream(stream)
        return await super().append(stream, events, expected_position=history[-1].position if history else 0)


class Forgetful(InMemoryEventLog):
    """Acknowledges every fortieth append, and does not keep it."""

    appends = 0

    async def append(self, stream: str, events: Sequence[NewEvent], *, expected_position: int) -> int:
        self.appends += 1
        if self.appends % 40 == 0:
            return await self.last_position() + len(events)
        return await super().append(stream, events, expected_position=expected_position)


def hasty(patch: Patch) -> None:
    expired = Leases.expired

    def sooner(self: Leases, *arguments: Any) -> Any:
        self._limit = 2.0
        return expired(self, *arguments)

    patch.setattr(Leases, "expired", sooner)


def begins_twice(patch: Patch) -> None:
    begin = Executor._begin

    def twice(self: Executor, recorded: Any) -> None:
        begin(self, recorded)
        begin(self, recorded)

    patch.setattr(Executor, "_begin", twice)


def no_idempotency(patch: Patch) -> None:
    submit = Submissions.submit

    async def again(self: Submissions, who: Any, request: Any, key: str | None) -> Any:
        return await submit(self, who, request, None)

    patch.setattr(Submissions, "submit", again)


def repeated_sequence(patch: Patch) -> None:
    right = attempt.decide

    def wrong(*arguments: Any) -> Any:
        return [
            e.model_copy(update={"sequence": max(1, e.sequence - 1)}) if isinstance(e, UsageRecorded) else e
            for e in right(*arguments)
        ]

    patch.setattr(handlers, "decide", wrong)


def one_too_many(patch: Patch) -> None:
    admit = decide.admit
    patch.setattr(decide, "admit", lambda task, org, reserved, moment: admit(task, org, reserved - 1, moment))


def periods_again(patch: Patch) -> None:
    opened = account.open_periods
    patch.setattr(
        account,
        "open_periods",
        lambda org, state, now, catalog: opened(org, replace(state, periods={}), now, catalog),
    )


def same_number(patch: Patch) -> None:
    conclude = decide.conclude

    def wrong(task: Any) -> Any:
        return [
            e.model_copy(update={"attempt": task.attempt}) if isinstance(e, TaskRequeued) else e
            for e in conclude(task)
        ]

    patch.setattr(decide, "conclude", wrong)


def lasting_keys(patch: Patch) -> None:
    fold = Verifier.fold
    patch.setattr(
        Verifier,
        "fold",
        lambda self, batch: fold(self, [r for r in batch if r.type != ApiKeyRevoked.type]),
    )


def leaking(patch: Patch) -> None:
    expected = Decisions.expected

    @contextmanager
    def kept(self: Decisions, task: str) -> Iterator[Any]:
        with expected(self, task) as future:
            yield future
        self._waiting[task] = set()

    patch.setattr(Decisions, "expected", kept)


def late_guard(patch: Patch) -> None:
    late = property(lambda draft: draft.organisation.position, lambda draft, position: None)
    patch.setattr(Draft, "expected", late)


def nothing(_: Patch) -> None:
    pass


@pytest.mark.parametrize(
    ("plant", "storage", "found"),
    [
        (nothing, Unguarded, "ends once|submitted once|admitted once|numbers rise|starts once|opened twice"),
        (nothing, Forgetful, "was acknowledged at|never ends|neither queued nor kept"),
        (hasty, None, "was launched while"),
        (begins_twice, None, "was launched twice"),
        (no_idempotency, None, "was answered"),
        (repeated_sequence, None, "numbered without a gap"),
        (one_too_many, None, "no more is admitted than the plan allows"),
        (periods_again, None, "opened twice"),
        (same_number, None, "attempt numbers rise"),
        (lasting_keys, None, "lets in a revoked key"),
        (late_guard, None, "event ids are unique"),
        (leaking, None, "those who wait for decisions still has"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_planted_is_found(
    monkeypatch: Patch, plant: Callable[[Patch], None], storage: type[InMemoryEventLog] | None, found: str
) -> None:
    plant(monkeypatch)
    for seed in SEEDS:
        outcome = simulate(seed, (lambda: storage(REGISTRY)) if storage else None)
        if any(part in what for part in found.split("|") for what in outcome.broken):
            return
    pytest.fail(f"not found in {len(SEEDS)} seeds")
