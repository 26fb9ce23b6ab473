"""Events of the runner: what happened. An attempt's stream is written by its assigned runner only."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from remote_claude.contracts.base import Event, Quantity, Sealed, Value

AttemptOutcome = Literal["succeeded", "failed", "cancelled", "timed_out", "lost"]

RUNNER_RESTARTED = "runner_restarted"
"""Reason of the attempts that a runner finds lost at its start. It records that before it joins, and gets no work until then."""

CAPABILITIES = ("model", "image", "network", "secrets", "budget")
"""Fields of a submission that only some runners can fulfil. A runner names those that it can in `RunnerJoined`."""

OPERATOR_MODEL = "operator_model"
"""Capability of a runner whose operator's credential for a model serves tasks that have none of their own.

`RunnerJoined.operator_model_for` names the one organisation that it serves, if it does not serve all."""

WORKER_LOST = "worker_lost"
"""Reason of an attempt whose worker connected, and then ended or fell silent before its sandbox was stopped. A process
beside the worker may have caused that, so the compute is charged."""

WORKER_FAILED = "worker_failed"
"""Reason of an attempt that failed by a fault of the worker, as the worker itself says: it is not tried again. A process
beside the worker may have said it in its place, so the attempt is charged."""


class RunnerEvent(Event):
    producer: ClassVar[str] = "runner"
    aggregate: ClassVar[str] = "runner"
    in_organisation: ClassVar[bool] = False


class Resources(Value):
    """Processor time in thousandths of a core, memory in MiB."""

    vcpu_millis: int
    memory_mib: int


class RunnerJoined(RunnerEvent):
    """A runner takes work from here on. A second one of the same runner replaces the first: it has restarted.

    It runs `slots` attempts at one time, each of at most `per_attempt`. `total` is what it has for attempts, `free` what was
    left of that when it joined. `pool` groups runners of one kind; `region` is where they are, as their provider names it.
    `capabilities` are the features beyond the basic ones that a submission may ask for (`CAPABILITIES`),
    and `OPERATOR_MODEL`: that serves the organisation `operator_model_for` only, or all if that is None.
    `release` is the version of its software. `only_for` is the organisation whose own machine it is: it takes tasks of that
    one only, and its time and memory are not metered.
    """

    type: ClassVar[str] = "RunnerJoined"
    version: ClassVar[int] = 1

    runner: str
    provider: str
    pool: str = "default"
    region: str | None = None
    release: str | None = None
    slots: int
    per_attempt: Resources
    total: Resources
    free: Resources
    agents: tuple[str, ...]
    capabilities: tuple[str, ...] = ()
    operator_model_for: str | None = None
    only_for: str | None = None


class RunnerDrained(RunnerEvent):
    """The runner takes no more work: it ends, or the operator has asked for that. What it has may come to its end."""

    type: ClassVar[str] = "RunnerDrained"
    version: ClassVar[int] = 1

    runner: str


class RunnerUndrained(RunnerEvent):
    """The operator lets a drained runner take work again. One that has ended does so when it joins."""

    type: ClassVar[str] = "RunnerUndrained"
    version: ClassVar[int] = 1

    runner: str


class AttemptEvent(RunnerEvent):
    aggregate: ClassVar[str] = "attempt"
    in_organisation: ClassVar[bool] = True

    task: str
    org: str
    attempt: int
    runner: str


class AssignmentDeclined(AttemptEvent):
    """The runner has no fitting slot; the attempt never began and costs no retry."""

    type: ClassVar[str] = "AssignmentDeclined"
    version: ClassVar[int] = 1

    reason: str


class TaskStarted(AttemptEvent):
    """The sandbox runs. `secrets` are the names of those that were released to it."""

    type: ClassVar[str] = "TaskStarted"
    version: ClassVar[int] = 1

    secrets: tuple[str, ...] = ()


class ModelUse(Value):
    """What was used of a model in one rate class: everything that decides its price, and integer quantities.

    `provider` is who answered (`anthropic`, `bedrock`, `vertex`, `openai`), `model` its name without date and context
    size, `region` `global` or `us`, `speed` `standard` or `fast`, `tier` `standard`, `priority` or `batch`, `prompt`
    `standard` or `long` (some models cost more above a length). `quantities` counts tokens by kind (`input`, `output`,
    `cache_read`, `cache_write_5m`, `cache_write_1h`) and uses of server tools (`web_search`).

    `paid_by` says whose credential the calls had: the operator's, which is charged, or the customer's own.
    Of the `calls`, `estimated` ended before the model said what they used. `unknown`: the price table lacks the model,
    and the price of its dearest applies.
    """

    provider: str
    model: str
    region: str = "global"
    speed: str = "standard"
    tier: str = "standard"
    prompt: str = "standard"
    paid_by: Literal["operator", "customer"] = "operator"
    unknown: bool = False
    calls: Quantity = 0
    estimated: Quantity = 0
    quantities: dict[str, Quantity] = Field(default_factory=dict)

    @property
    def rate_class(self) -> tuple[str, ...]:
        """What distinguishes it from other uses."""
        return (
            self.provider, self.model, self.region, self.speed, self.tier, self.prompt, self.paid_by,
        )  # fmt: skip


class Cumulative(Value):
    """Everything an attempt has used since it started.

    `vcpu_ms` and `gib_ms` are allocation times wall clock, in thousandths of vCPU-seconds and GiB-seconds. `egress_bytes`
    passed the egress proxy, both ways.
    `model_use` has one entry for each rate class, measured at the proxy. It comes to `model_nano_usd` billionths of a
    dollar on the operator's credential and to `customer_model_nano_usd` on the customer's own, which is not charged:
    both follow from the quantities and the price table of version `price_table`.
    """

    vcpu_ms: Quantity = 0
    gib_ms: Quantity = 0
    egress_bytes: Quantity = 0
    model_use: tuple[ModelUse, ...] = ()
    model_nano_usd: Quantity = 0
    customer_model_nano_usd: Quantity = 0
    price_table: str | None = None

    def __add__(self, other: Cumulative) -> Cumulative:
        """Both together. Two versions of the price table make None of it: the sum can't be derived from one."""
        versions = {c.price_table for c in (self, other) if c.price_table is not None}
        return Cumulative(
            vcpu_ms=self.vcpu_ms + other.vcpu_ms,
            gib_ms=self.gib_ms + other.gib_ms,
            egress_bytes=self.egress_bytes + other.egress_bytes,
            model_use=_merged(self.model_use, other.model_use),
            model_nano_usd=self.model_nano_usd + other.model_nano_usd,
            customer_model_nano_usd=self.customer_model_nano_usd + other.customer_model_nano_usd,
            price_table=versions.pop() if len(versions) == 1 else None,
        )


def _merged(some: tuple[ModelUse, ...], more: tuple[ModelUse, ...]) -> tuple[ModelUse, ...]:
    uses: dict[tuple[str, ...], ModelUse] = {use.rate_class: use for use in some}
    for use in more:
        if (known := uses.get(use.rate_class)) is not None:
            kinds = {*known.quantities, *use.quantities}
            use = known.model_copy(
                update={
                    "calls": known.calls + use.calls,
                    "estimated": known.estimated + use.estimated,
                    "quantities": {k: known.quantities.get(k, 0) + use.quantities.get(k, 0) for k in kinds},
                }
            )
        uses[use.rate_class] = use
    return tuple(uses[key] for key in sorted(uses))


class OpenModelCall(Value):
    """A call to a model that has begun and whose use is not known yet.

    `sent` is what was sent, estimated by its length; it counts until the answer says more, and costs `nano_usd`.
    `upper_nano_usd` is the most that the call can come to, by the output that it allows.
    """

    sent: ModelUse
    nano_usd: Quantity
    upper_nano_usd: Quantity


class UsageSample(Value):
    """What an attempt has used from `measured_from`, its start, to `measured_to`: RFC 3339, UTC.

    Cumulative, so that a lost sample is made up by the next and a repeated one changes nothing. `sequence` counts from
    1. `open_calls` are in none of the sums of `cumulative`, which never fall.
    """

    sequence: int
    measured_from: str
    measured_to: str
    cumulative: Cumulative
    open_calls: tuple[OpenModelCall, ...] = ()

    @property
    def total(self) -> Cumulative:
        """What is charged if nothing follows: open calls count as far as they were sent."""
        total = self.cumulative
        for call in self.open_calls:
            charged = call.sent.paid_by == "operator"
            total += Cumulative(
                model_use=(call.sent,),
                model_nano_usd=call.nano_usd if charged else 0,
                customer_model_nano_usd=0 if charged else call.nano_usd,
            )
        return total


class UsageRecorded(UsageSample, AttemptEvent):
    """A sample of an attempt's use.

    There is one before the model receives the last byte of a call, and one with what the call used before the sandbox
    receives the last byte of its answer.
    """

    type: ClassVar[str] = "UsageRecorded"
    version: ClassVar[int] = 1


class CheckpointSaved(AttemptEvent):
    """The state after a turn is kept: the next attempt goes on from here.

    `manifest` is the SHA-256 of an object that lists the chunks of transcript, agent home and working tree, which
    hold `size` bytes together. `sequence` counts the attempt's checkpoints from 1, `turn` the agent's turns.
    """

    type: ClassVar[str] = "CheckpointSaved"
    version: ClassVar[int] = 1

    sequence: int
    turn: int
    manifest: str
    size: Quantity


class PermissionRequested(AttemptEvent):
    """The agent waits until a person permits a use of a tool, or denies it.

    `request` is `<attempt>-<number>`, unique in the task. `input` is the JSON object that the agent gives to `tool`; long texts
    in it are cut.
    """

    type: ClassVar[str] = "PermissionRequested"
    version: ClassVar[int] = 1

    request: str
    tool: str
    input: Sealed


class PermissionWithdrawn(AttemptEvent):
    """The agent waits for no answer to a request any more: its turn was interrupted."""

    type: ClassVar[str] = "PermissionWithdrawn"
    version: ClassVar[int] = 1

    request: str


class PullRequestEvent(RunnerEvent):
    """About the pull request of a task. Each task has at most one open pull request, of the branch `rclaude/<task>`."""

    aggregate: ClassVar[str] = "pull_request"
    in_organisation: ClassVar[bool] = True

    task: str
    org: str


class PullRequestOpened(PullRequestEvent):
    """The result of a task is a pull request on its forge. `forge` is the name by which the installation knows it."""

    type: ClassVar[str] = "PullRequestOpened"
    version: ClassVar[int] = 1

    forge: str
    number: int
    url: Sealed
    branch: str
    commit: str


class PullRequestFailed(PullRequestEvent):
    """No pull request was opened. `reason` is a stable code, `detail` the sentence that says what to do.

    The task stays what it was, and so does its result.
    """

    type: ClassVar[str] = "PullRequestFailed"
    version: ClassVar[int] = 1

    reason: str
    detail: Sealed | None = None


class ThreadEvent(RunnerEvent):
    """About a comment on the issue or the pull request that started a task: one at the task's start, one at its end."""

    aggregate: ClassVar[str] = "thread"
    in_organisation: ClassVar[bool] = True

    task: str
    org: str
    comment: Literal["started", "ended"]


class ThreadCommented(ThreadEvent):
    """The comment is on the forge."""

    type: ClassVar[str] = "ThreadCommented"
    version: ClassVar[int] = 1


class ThreadCommentFailed(ThreadEvent):
    """The comment was given up. `reason` is a stable code, `detail` the sentence that says what to do."""

    type: ClassVar[str] = "ThreadCommentFailed"
    version: ClassVar[int] = 1

    reason: str
    detail: Sealed | None = None


class AccessEvent(RunnerEvent):
    """Somebody looks into the sandbox of a task that runs."""

    aggregate: ClassVar[str] = "access"
    in_organisation: ClassVar[bool] = True

    org: str
    user: str
    task: str


class ShellOpened(AccessEvent):
    """A person has opened a terminal in the sandbox."""

    type: ClassVar[str] = "ShellOpened"
    version: ClassVar[int] = 1


class PortOpened(AccessEvent):
    """A person has reached a port of the sandbox. The first connection with a credential is recorded, not those that follow."""

    type: ClassVar[str] = "PortOpened"
    version: ClassVar[int] = 1

    port: int


class Result(Value):
    """What an attempt leaves: objects by SHA-256, commits by Git's id. `commit` is None when nothing was changed,
    and for a task that leaves a patch only: the bundle carries the change of `patch` then.

    `artifacts` is a tar archive of the files that the agent left for people. All objects hold `size` bytes together.
    """

    base: str | None = None
    sent: str | None = None
    commit: str | None = None
    bundle: str | None = None
    patch: str | None = None
    artifacts: str | None = None
    size: Quantity = 0


class SealedOutput(Value):
    """The whole output of a finished attempt as one object: `frames` frames of `size` bytes under `sha256`."""

    sha256: str
    frames: int
    size: Quantity = 0


class AttemptFinished(AttemptEvent):
    """The attempt is over and its sandbox is gone.

    `reason` is a stable code where the outcome needs one, `detail` the sentence that came with it. `usage` is the
    closing total: the attempt's last sample, without open calls; None if it used nothing. `summary` is what the agent says it
    has done, `checks` a JSON array of the repository's checks that have run, each with its exit code.
    `started_at` is set for an attempt that began and ended at once: there is no `TaskStarted` then, and this counts as one.
    """

    type: ClassVar[str] = "AttemptFinished"
    version: ClassVar[int] = 1

    outcome: AttemptOutcome
    started_at: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    detail: Sealed | None = None
    summary: Sealed | None = None
    checks: Sealed | None = None
    usage: UsageSample | None = None
    result: Result | None = None
    output: SealedOutput | None = None
