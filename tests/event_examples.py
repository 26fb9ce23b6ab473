"""One example of every published event, every field filled in."""

from typing import Any

from billing_examples import BILLING_EXAMPLES
from remote_claude.contracts import Event, Sealed
from remote_claude.contracts.auth import (
    ApiKeyIssued,
    ApiKeyRevoked,
    DeviceAuthorized,
    IdentityLinked,
    IdentityUnlinked,
    SessionOpened,
    SessionRefreshed,
    SessionRevoked,
    SigningKeyRotated,
)
from remote_claude.contracts.gateway import (
    BestOf,
    BundleRepository,
    PullRequestOptions,
    PullRequestRequested,
    RemoteRepository,
    ScheduleCreated,
    ScheduleDue,
    ScheduleRefused,
    ScheduleRemoved,
    TaskCancellationRequested,
    TaskMessageSent,
    TaskSubmitted,
    TriggerCreated,
    TriggerRemoved,
    WebhookAdded,
    WebhookDelivered,
    WebhookFailed,
    WebhookRemoved,
)
from remote_claude.contracts.runner import (
    AssignmentDeclined,
    AttemptFinished,
    CheckpointSaved,
    Cumulative,
    ModelUse,
    OpenModelCall,
    PullRequestFailed,
    PullRequestOpened,
    Resources,
    Result,
    RunnerDrained,
    RunnerJoined,
    SealedOutput,
    TaskStarted,
    UsageRecorded,
    UsageSample,
)
from remote_claude.contracts.scheduler import (
    EXECUTIONS,
    Admission,
    Limits,
    Reservation,
    RunnerLost,
    Settlement,
    TaskAdmitted,
    TaskAssigned,
    TaskCancelled,
    TaskFailed,
    TaskRejected,
    TaskRequeued,
    TaskSucceeded,
    TaskTimedOut,
)
from remote_claude.contracts.users import (
    InvitationRevoked,
    MemberInvited,
    MemberJoined,
    MemberRemoved,
    MemberRoleChanged,
    ModelAccess,
    ModelChosen,
    OrgCreated,
    OrgDeleted,
    OrgErased,
    OrgRestored,
    OrgResumed,
    OrgSettingsChanged,
    OrgSuspended,
    SecretRemoved,
    SecretStored,
    ServiceAccountCreated,
    ServiceAccountRemoved,
    UserErased,
    UserRegistered,
)

ORG, USER, TASK, RUNNER = "org_01", "user_01", "task_01", "runner_01"
SEALED = Sealed(key=ORG, box="bm9uY2UgYW5kIGNpcGhlcnRleHQ=")
ATTEMPT = {"org": ORG, "task": TASK, "attempt": 1, "runner": RUNNER}
DECISION = {"org": ORG, "task": TASK}
SHA256 = "a" * 64
WINDOW: dict[str, Any] = {
    "measured_from": "2026-11-01T12:00:00.000000Z",
    "measured_to": "2026-11-01T12:00:15.000000Z",
}
USE = ModelUse(
    provider="anthropic",
    model="claude-opus-4",
    region="us",
    speed="fast",
    tier="priority",
    prompt="long",
    paid_by="customer",
    unknown=True,
    calls=2,
    estimated=1,
    quantities={"input": 1200, "output": 300},
)
LATER = "2027-01-01T00:00:00.000000Z"


def admission(period: str = "2026-11", plan_version: str = "1") -> Admission:
    """An admission with one execution of a period."""
    execution = Reservation(meter=EXECUTIONS, quantity=1, kind="hard")
    return Admission(period=period, plan_version=plan_version, reservations=(execution,))


USED = (Settlement(meter=EXECUTIONS, settled=1, released=0),)
"""The task has started: its execution is used."""
UNUSED = (Settlement(meter=EXECUTIONS, settled=0, released=1),)
"""The task never started: its execution is free again."""


def runner_joined(
    runner: str = RUNNER,
    *,
    slots: int = 2,
    agents: tuple[str, ...] = ("shell",),
    vcpu_millis: int = 4000,
    memory_mib: int = 8192,
    provider: str = "local",
    capabilities: tuple[str, ...] = (),
) -> RunnerJoined:
    """A runner whose slots are all free."""
    total = Resources(vcpu_millis=slots * vcpu_millis, memory_mib=slots * memory_mib)
    return RunnerJoined(
        runner=runner,
        provider=provider,
        pool="default",
        region="here",
        release="0.1.0",
        slots=slots,
        per_attempt=Resources(vcpu_millis=vcpu_millis, memory_mib=memory_mib),
        total=total,
        free=total,
        agents=agents,
        capabilities=capabilities,
    )


EXAMPLES: tuple[Event, ...] = (
    ApiKeyIssued(
        key="key_01",
        org=ORG,
        user=USER,
        prefix="rck_abcdef",
        hash=SHA256,
        scopes=("tasks", "billing"),
        expires_at=LATER,
        name=SEALED,
        issued_by=USER,
    ),
    ApiKeyRevoked(key="key_01", org=ORG, reason="lost"),
    IdentityLinked(
        identity="identity_01",
        user=USER,
        provider="github",
        subject=SEALED,
        name=SEALED,
        email=SEALED,
        email_hash=SHA256,
    ),
    SessionOpened(
        session="session_01",
        user=USER,
        kind="browser",
        method="github",
        hash=SHA256,
        scopes=("tasks",),
        expires_at=LATER,
        client=SEALED,
    ),
    SessionRefreshed(session="session_01", user=USER, hash=SHA256, expires_at=LATER),
    SessionRevoked(session="session_01", user=USER, reason="signed_out"),
    DeviceAuthorized(device="device_01", user=USER, session="session_01"),
    SigningKeyRotated(kid="kid_01", x="eA", y="eQ", private=SEALED),
    UserRegistered(user=USER, name=SEALED, email=SEALED),
    IdentityUnlinked(identity="identity_01", user=USER),
    UserErased(user=USER),
    OrgCreated(org=ORG, name=SEALED, owner=USER, personal=True),
    OrgSettingsChanged(org=ORG, by=USER, name=SEALED),
    OrgDeleted(org=ORG, by=USER, erased_at=LATER),
    OrgSuspended(org=ORG, reason="abuse of the network"),
    OrgResumed(org=ORG),
    OrgRestored(org=ORG, by=USER),
    OrgErased(org=ORG),
    ServiceAccountCreated(org=ORG, service_account="sa_01", name=SEALED, by=USER),
    ServiceAccountRemoved(org=ORG, service_account="sa_01", by=USER),
    MemberInvited(
        org=ORG,
        invitation="invitation_01",
        email=SEALED,
        role="member",
        hash=SHA256,
        by=USER,
        expires_at=LATER,
    ),
    InvitationRevoked(org=ORG, invitation="invitation_01", by=USER),
    MemberJoined(org=ORG, user=USER, role="owner", invitation="invitation_01"),
    MemberRoleChanged(org=ORG, user=USER, role="admin", by=USER),
    MemberRemoved(org=ORG, user=USER, by=USER),
    TaskSubmitted(
        task=TASK,
        org=ORG,
        user=USER,
        prompt=SEALED,
        agent="claude",
        model="claude-opus-4",
        provider="local",
        image="python:3.12",
        network="default",
        secrets=("NPM_TOKEN",),
        budget_nano_usd=2**53 + 1,
        continues="task_00",
        checkpoint=SHA256,
        best_of=BestOf(group="group_01", index=1, size=4),
        repository=RemoteRepository(url=SEALED, ref=SEALED),
        repository_hash=SHA256,
        pull_request=PullRequestOptions(draft=True, base=SEALED, title=SEALED),
        max_attempts=2,
        timeout_s=600,
        priority=5,
        started_by="schedule_01",
        labels=SEALED,
        label_hashes={SHA256: SHA256},
        body_hash=SHA256,
    ),
    TaskCancellationRequested(task=TASK, org=ORG, user=USER),
    TaskMessageSent(task=TASK, org=ORG, user=USER, number=1, text=SEALED),
    TaskAdmitted(**DECISION, admission=admission()),
    TaskRejected(**DECISION, code="quota_exceeded", detail="100 of 100 executions are used"),
    TaskAssigned(
        **DECISION,
        attempt=1,
        runner=RUNNER,
        provider="local",
        pool="default",
        image="python:3.12",
        agent="claude",
        limits=Limits(vcpu_millis=2000, memory_mib=4096, duration_s=1800),
        deadline="2026-11-01T00:30:00.000000Z",
        lease_s=15,
        admission=admission(),
    ),
    RunnerLost(**DECISION, attempt=1, runner=RUNNER, reason="lease_expired", charge=False),
    TaskRequeued(**DECISION, attempt=2, reason="runner_lost"),
    TaskSucceeded(**DECISION, attempt=1, settlements=USED),
    TaskFailed(**DECISION, attempt=1, settlements=USED, reason="agent_exited", exit_code=2),
    TaskCancelled(**DECISION, attempt=1, settlements=USED),
    TaskTimedOut(**DECISION, attempt=1, settlements=USED),
    runner_joined(agents=("claude", "shell"), capabilities=("image",)),
    RunnerDrained(runner=RUNNER),
    AssignmentDeclined(**ATTEMPT, reason="no_free_slot"),
    TaskStarted(**ATTEMPT, secrets=("API_TOKEN",)),
    UsageRecorded(
        **ATTEMPT,
        sequence=3,
        **WINDOW,
        cumulative=Cumulative(
            vcpu_ms=2**53 + 1,
            gib_ms=8000,
            egress_bytes=1024,
            model_use=(USE,),
            model_nano_usd=40_500_000,
            customer_model_nano_usd=0,
            price_table="2026-11",
        ),
        open_calls=(
            OpenModelCall(
                sent=USE.model_copy(update={"estimated": 1, "quantities": {"input": 900}}),
                nano_usd=13_500_000,
                upper_nano_usd=163_500_000,
            ),
        ),
    ),
    CheckpointSaved(**ATTEMPT, sequence=1, turn=4, manifest=SHA256, size=2**20),
    PullRequestFailed(**DECISION, reason="forge_token_refused", detail=SEALED),
    PullRequestOpened(
        **DECISION, forge="github", number=7, url=SEALED, branch="rclaude/task_1", commit="d" * 40
    ),
    AttemptFinished(
        **ATTEMPT,
        outcome="succeeded",
        started_at="2026-11-01T00:00:00.000000Z",
        exit_code=0,
        reason="done",
        detail=SEALED,
        usage=UsageSample(sequence=4, cumulative=Cumulative(vcpu_ms=16_000), **WINDOW),
        result=Result(base="b" * 40, sent="c" * 40, commit="d" * 40, bundle=SHA256, patch=SHA256),
        output=SealedOutput(sha256=SHA256, frames=12),
    ),
    *BILLING_EXAMPLES,
    PullRequestRequested(**DECISION, user=USER, attempt=1),
    SecretStored(
        org=ORG,
        owner=USER,
        secret_name="API_TOKEN",
        value=SEALED,
        by=USER,
        hosts=("api.example.com",),
        as_env=False,
        model=ModelAccess(base_url="https://api.anthropic.com"),
    ),
    SecretRemoved(org=ORG, owner=USER, secret_name="API_TOKEN", by=USER),
    ModelChosen(org=ORG, owner=USER, secret_name="anthropic", by=USER),
    WebhookAdded(hook="hook_01", org=ORG, url=SEALED, secret=SEALED),
    WebhookRemoved(hook="hook_01", org=ORG),
    WebhookDelivered(**DECISION, hook="hook_01", status=204),
    WebhookFailed(**DECISION, hook="hook_01", reason="refused", status=500),
    ScheduleCreated(
        schedule="schedule_01",
        org=ORG,
        user=USER,
        cron="0 7 * * 1",
        zone="Europe/Berlin",
        since=LATER,
        request=SEALED,
    ),
    ScheduleDue(schedule="schedule_01", org=ORG, due=LATER, missed=2),
    ScheduleRefused(schedule="schedule_01", org=ORG, due=LATER, reason="secret_not_found"),
    ScheduleRemoved(schedule="schedule_01", org=ORG, user=USER),
    TriggerCreated(
        trigger="trigger_01", org=ORG, user=USER, forge="github", secret=SEALED, rules=SEALED, request=SEALED
    ),
    TriggerRemoved(trigger="trigger_01", org=ORG, user=USER),
)

OTHER_SHAPES: tuple[Event, ...] = (
    TaskSubmitted(
        task=TASK,
        org=ORG,
        user=USER,
        prompt=SEALED,
        agent="shell",
        repository=BundleRepository(sha256=SHA256),
        body_hash=SHA256,
    ),
)
