"""Which steps a batch takes next, and when it has ended."""

from __future__ import annotations

from typing import Any

import pytest

from remote_claude.contracts import Event, Sealed
from remote_claude.contracts.gateway import (
    BatchCancellationRequested,
    BatchEnded,
    BatchItemRefused,
    BatchSubmitted,
)
from remote_claude.gateway.domain import batches
from remote_claude.gateway.domain.batches import CancelBatch, EndBatch, Item, RefuseItem, Steps, SubmitBatch
from remote_claude.gateway.domain.refusals import BatchAlreadyEnded, BatchNotFound, IdempotencyKeyReused

ID: dict[str, Any] = {"batch": "batch_1", "org": "org_1"}


def submitted(body_hash: str = "x") -> BatchSubmitted:
    name = Sealed(key="org_1", box="x")
    return BatchSubmitted(**ID, user="user_1", name=name, items="a", size=3, body_hash=body_hash)


def when(command: batches.Command, *given: Event) -> list[Event]:
    state = batches.initial_state
    for event in given:
        state = batches.evolve(state, event)
    return batches.decide(command, state)


def test_the_same_batch_is_recorded_once_and_another_under_its_id_is_refused() -> None:
    assert when(SubmitBatch(submitted())) == [submitted()]
    assert when(SubmitBatch(submitted()), submitted()) == []
    with pytest.raises(IdempotencyKeyReused):
        when(SubmitBatch(submitted("y")), submitted("x"))


def test_an_item_is_refused_once() -> None:
    refused = BatchItemRefused(**ID, item=2, reason="unknown_agent")
    command = RefuseItem(**ID, item=2, reason="unknown_agent")
    assert when(command, submitted()) == [refused]
    assert when(command, submitted(), refused) == []


def test_a_batch_is_cancelled_once_and_not_after_its_end() -> None:
    cancel = CancelBatch(**ID, user="user_1")
    asked = BatchCancellationRequested(**ID, user="user_1")
    assert when(cancel, submitted()) == [asked]
    assert when(cancel, submitted(), asked) == []
    assert when(cancel, submitted(), asked, BatchEnded(**ID, outcome="cancelled")) == []
    with pytest.raises(BatchAlreadyEnded):
        when(cancel, submitted(), BatchEnded(**ID, outcome="succeeded"))
    with pytest.raises(BatchNotFound):
        when(cancel)


def test_a_batch_ends_once() -> None:
    ended = BatchEnded(**ID, outcome="succeeded")
    assert when(EndBatch(**ID, outcome="succeeded"), submitted()) == [ended]
    assert when(EndBatch(**ID, outcome="failed"), submitted(), ended) == []


RUNS, DONE = Item(number=1, state="running", task="task_1"), Item(number=1, state="succeeded", task="task_1")
BAD, REFUSED = Item(number=1, state="failed", task="task_1"), Item(number=1, state="refused")
SECOND, THIRD = Item(number=2), Item(number=3)


@pytest.mark.parametrize(
    ("items", "settings", "steps"),
    [
        ((Item(number=1), SECOND, THIRD), {}, Steps(submit=(1, 2, 3))),
        ((RUNS, SECOND, THIRD), {"max_parallel": 2}, Steps(submit=(2,))),
        ((RUNS, SECOND, THIRD), {"max_parallel": 1}, Steps()),
        ((DONE, SECOND), {"max_parallel": 1}, Steps(submit=(2,))),
        ((REFUSED, SECOND), {}, Steps(submit=(2,))),
        ((REFUSED, SECOND), {"stop_on_failure": True}, Steps(outcome="failed")),
        ((RUNS, SECOND), {"cancelled": True}, Steps(cancel=("task_1",))),
        ((DONE, SECOND), {"cancelled": True}, Steps(outcome="cancelled")),
        ((RUNS,), {}, Steps()),
        ((DONE,), {}, Steps(outcome="succeeded")),
        ((BAD,), {}, Steps(outcome="failed")),
    ],
)
def test_the_next_steps_follow_from_the_items(
    items: tuple[Item, ...], settings: dict[str, Any], steps: Steps
) -> None:
    plain: dict[str, Any] = {"max_parallel": None, "stop_on_failure": False, "cancelled": False}
    assert batches.next_steps(items, **{**plain, **settings}) == steps
