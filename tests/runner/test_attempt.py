"""What follows from a command about an attempt."""

from __future__ import annotations

from typing import Any

from event_examples import SEALED, WINDOW
from given import Decider
from remote_claude.contracts.runner import (
    AttemptFinished,
    CheckpointSaved,
    Cumulative,
    ModelUse,
    OpenModelCall,
    PermissionRequested,
    PermissionWithdrawn,
    TaskStarted,
    UsageRecorded,
    UsageSample,
)
from remote_claude.runner.domain import attempt
from remote_claude.runner.domain.attempt import (
    AttemptId,
    Command,
    Finish,
    Measured,
    RequestPermission,
    Sample,
    SaveCheckpoint,
    Start,
    State,
    WithdrawPermission,
)

ID = AttemptId("org_a", "task_1", 1, "run_1")
WHO: dict[str, Any] = {"org": "org_a", "task": "task_1", "attempt": 1, "runner": "run_1"}
SENT = ModelUse(provider="anthropic", model="claude-sonnet-5", calls=1, estimated=1, quantities={"input": 9})
OPEN = OpenModelCall(sent=SENT, nano_usd=18_000, upper_nano_usd=1_018_000)
DECIDER = Decider(attempt.fold, lambda command, state: _decide(command, state))
STARTED = TaskStarted(**WHO)


def _decide(command: Command, state: State) -> list[attempt.AttemptEvent]:
    return attempt.decide(ID, command, state)


def measured(vcpu_ms: int, *open_calls: OpenModelCall) -> Measured:
    return Measured(cumulative=Cumulative(vcpu_ms=vcpu_ms), open_calls=open_calls, **WINDOW)


def recorded(sequence: int, vcpu_ms: int, *open_calls: OpenModelCall) -> UsageRecorded:
    cumulative = Cumulative(vcpu_ms=vcpu_ms)
    return UsageRecorded(**WHO, sequence=sequence, cumulative=cumulative, open_calls=open_calls, **WINDOW)


def test_a_sample_with_another_open_call_is_recorded_though_nothing_has_ended() -> None:
    DECIDER.given(STARTED, recorded(1, 5)).when(Sample(measured(5))).then()
    DECIDER.given(STARTED, recorded(1, 5)).when(Sample(measured(5, OPEN))).then(recorded(2, 5, OPEN))


def test_the_end_carries_the_closing_total_in_one_event() -> None:
    closing = UsageSample(sequence=2, cumulative=Cumulative(vcpu_ms=9), **WINDOW)
    DECIDER.given(STARTED, recorded(1, 5)).when(Finish(outcome="succeeded", used=measured(9))).then(
        AttemptFinished(**WHO, outcome="succeeded", usage=closing)
    )


def test_a_call_that_is_open_when_its_runner_is_lost_counts_as_far_as_it_was_sent() -> None:
    cumulative = Cumulative(vcpu_ms=5, model_use=(SENT,), model_nano_usd=18_000)
    closing = UsageSample(sequence=2, cumulative=cumulative, **WINDOW)
    DECIDER.given(STARTED, recorded(1, 5, OPEN)).when(Finish(outcome="lost", reason="runner_restarted")).then(
        AttemptFinished(**WHO, outcome="lost", reason="runner_restarted", usage=closing)
    )


def test_an_attempt_that_used_nothing_has_no_closing_total() -> None:
    DECIDER.given().when(Finish(outcome="failed", reason="clone_failed")).then(
        AttemptFinished(**WHO, outcome="failed", reason="clone_failed")
    )
    DECIDER.given().when(Start()).then(STARTED)


def test_what_a_customer_pays_is_apart_from_what_is_charged() -> None:
    own = OPEN.model_copy(update={"sent": SENT.model_copy(update={"paid_by": "customer"})})
    total = recorded(1, 5, OPEN, own).total
    assert (total.model_nano_usd, total.customer_model_nano_usd) == (18_000, 18_000)
    assert [use.paid_by for use in total.model_use] == ["customer", "operator"]


def test_checkpoints_are_counted_and_need_a_started_attempt() -> None:
    save = SaveCheckpoint(turn=3, manifest="m", size=9)
    first = CheckpointSaved(**WHO, sequence=1, turn=2, manifest="l", size=8)
    DECIDER.given(STARTED, first, recorded(1, 5)).when(save).then(
        CheckpointSaved(**WHO, sequence=2, turn=3, manifest="m", size=9)
    )
    DECIDER.given().when(save).then()


def test_a_permission_is_asked_once_and_withdrawn_only_if_it_was_asked() -> None:
    ask = RequestPermission(request="1-1", tool="Bash", input=SEALED)
    asked = PermissionRequested(**WHO, request="1-1", tool="Bash", input=SEALED)
    DECIDER.given(STARTED).when(ask).then(asked)
    DECIDER.given(STARTED, asked).when(ask).then()
    DECIDER.given(STARTED, asked).when(WithdrawPermission("1-1")).then(
        PermissionWithdrawn(**WHO, request="1-1")
    )
    DECIDER.given(STARTED, asked).when(WithdrawPermission("1-2")).then()
