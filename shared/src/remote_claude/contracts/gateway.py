"""Events of the gateway: what users request of tasks, webhooks with their deliveries, schedules, triggers, batches, links."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from remote_claude.contracts.base import Event, Quantity, Sealed, Value


class BundleRepository(Value):
    """A Git bundle that was uploaded before, by its SHA-256."""

    kind: Literal["bundle"] = "bundle"
    sha256: str


class RemoteRepository(Value):
    """A repository to clone. The URL may carry a name or a token, so it is sealed."""

    kind: Literal["remote"] = "remote"
    url: Sealed
    ref: Sealed | None = None


Repository = Annotated[BundleRepository | RemoteRepository, Field(discriminator="kind")]


PermissionMode = Literal["all", "edits", "ask"]
PermissionDecision = Literal["allow", "allow_always", "deny"]


class GatewayEvent(Event):
    producer: ClassVar[str] = "gateway"
    aggregate: ClassVar[str] = "task"


class BestOf(Value):
    """The task is number `index`, from 1, of `size` tasks that try the same in parallel. `group` names them all."""

    group: str
    index: int
    size: int


class ForgeThread(Value):
    """The issue or the pull request whose comment or label started a task. Its repository is that of the task."""

    kind: Literal["issue", "pull_request"]
    number: int


class PullRequestOptions(Value):
    """How to open the pull request of a task that succeeds. Without `base` it goes to the branch that was cloned.

    `reviewers` and `labels` are JSON arrays of texts. With `workflows`, the result may change files that the forge runs.
    """

    draft: bool = False
    base: Sealed | None = None
    title: Sealed | None = None
    reviewers: Sealed | None = None
    labels: Sealed | None = None
    workflows: bool = False


class TaskSubmitted(GatewayEvent):
    """A task as its user submitted it. None always means: not given, so the default applies.

    `timeout_s` bounds each attempt, in seconds; without it the plan does. `budget_nano_usd` bounds the model use of all
    attempts together, in billionths of a dollar. `continues` is the finished task whose branch and conversation this one
    takes up. `network` names a network policy. `secrets` are names of secrets, never values.

    `checkpoint` is the SHA-256 of an uploaded archive in the format of a checkpoint, whose conversation this task takes up.

    With `feedback`, the review comments and failing checks of the pull request of the task that it continues follow the prompt.

    With `patch_only` nothing is committed or pushed: the result is a patch.

    `author` is JSON: `name` and `email` of who the commit is by.

    `permission_mode` says what the agent may do without asking: `all` (so without one), `edits` of files only, or nothing (`ask`).

    `agent_options` is JSON: `allowed_tools`, `mcp_servers`, `system_prompt` and `append_system_prompt` of Claude Code.

    `started_by` is the schedule, the trigger or the batch that submitted it for its user; `batch_item` is the number of
    the batch's item, from 1. `team` is the team that it belongs to. `thread` is where a trigger was called: the start and
    the end of the task are commented there.

    `repository_hash` and `label_hashes` (name to value) are keyed hashes, HMAC-SHA256 in hex under the organisation's data
    key: costs can be grouped by them without opening a text. `body_hash` shows whether an idempotency key was repeated or reused.
    """

    type: ClassVar[str] = "TaskSubmitted"
    version: ClassVar[int] = 1

    task: str
    org: str
    user: str
    prompt: Sealed
    agent: str
    model: str | None = None
    provider: str | None = None
    image: str | None = None
    network: str | None = None
    secrets: tuple[str, ...] = ()
    budget_nano_usd: Quantity | None = None
    continues: str | None = None
    checkpoint: str | None = None
    best_of: BestOf | None = None
    repository: Repository | None = None
    repository_hash: str | None = None
    pull_request: PullRequestOptions | None = None
    author: Sealed | None = None
    feedback: bool = False
    permission_mode: PermissionMode | None = None
    agent_options: Sealed | None = None
    patch_only: bool = False
    max_attempts: int = 3
    timeout_s: int | None = None
    priority: int = 0
    started_by: str | None = None
    thread: ForgeThread | None = None
    team: str | None = None
    batch_item: int | None = None
    labels: Sealed | None = None
    label_hashes: dict[str, str] = Field(default_factory=dict)
    body_hash: str


class TaskMessageSent(GatewayEvent):
    """A person's message to a task that has not ended. Numbered from 1; the agent takes them in this order.

    With `interrupt`, what the agent does at the moment is ended first.
    """

    type: ClassVar[str] = "TaskMessageSent"
    version: ClassVar[int] = 1

    task: str
    org: str
    user: str
    number: int
    text: Sealed
    interrupt: bool = False


class PermissionAnswered(GatewayEvent):
    """A person answers the request of an agent (`PermissionRequested`). The first answer counts.

    `allow_always` permits the like for the rest of the agent's conversation. `message` tells the agent why it is denied.
    """

    type: ClassVar[str] = "PermissionAnswered"
    version: ClassVar[int] = 1

    task: str
    org: str
    user: str
    request: str
    decision: PermissionDecision
    message: Sealed | None = None


class TaskCancellationRequested(GatewayEvent):
    type: ClassVar[str] = "TaskCancellationRequested"
    version: ClassVar[int] = 1

    task: str
    org: str
    user: str


class PullRequestRequested(GatewayEvent):
    """A user asks, after the end of a task that succeeded, for the pull request of its result: that of `attempt`."""

    type: ClassVar[str] = "PullRequestRequested"
    version: ClassVar[int] = 1

    task: str
    org: str
    user: str
    attempt: int


ContentKind = Literal["output", "artifacts", "checkpoints"]
"""`output`: what the agent printed. `artifacts`: commits, patch and files. `checkpoints`: conversation and working tree."""


class TaskContentRemoved(GatewayEvent):
    """The time that the plan keeps content of a task is over, and its objects are deleted. What it cost stays."""

    type: ClassVar[str] = "TaskContentRemoved"
    version: ClassVar[int] = 1

    task: str
    org: str
    kinds: tuple[ContentKind, ...]


class WebhookEvent(Event):
    """About an address that gets a request when a task of its organisation ends, or when a part of a quota is used."""

    producer: ClassVar[str] = "gateway"
    aggregate: ClassVar[str] = "webhook"

    hook: str
    org: str


class WebhookAdded(WebhookEvent):
    """The end of each later task and each later alert about a quota is posted to `url`. The secret signs each delivery."""

    type: ClassVar[str] = "WebhookAdded"
    version: ClassVar[int] = 1

    url: Sealed
    secret: Sealed
    format: Literal["standard", "slack"] = "standard"
    """What is posted: a signed message of Standard Webhooks, or a text for a Slack-compatible incoming webhook."""


class WebhookRemoved(WebhookEvent):
    """Nothing more is sent to it. Deliveries that are still pending are dropped."""

    type: ClassVar[str] = "WebhookRemoved"
    version: ClassVar[int] = 1


class WebhookReplayRequested(WebhookEvent):
    """A user asks that the end of a task is posted to the hook once more.

    `event` and `position` are those of the end, `state` the state that it brought, `ended_at` its time.
    """

    type: ClassVar[str] = "WebhookReplayRequested"
    version: ClassVar[int] = 1

    user: str
    task: str
    state: str
    event: str
    position: int
    ended_at: str


class WebhookOutcome(GatewayEvent):
    """The outcome of a delivery: the end of the task, posted to a hook. Its event id is the `webhook-id` of the request."""

    task: str
    org: str
    hook: str


class WebhookDelivered(WebhookOutcome):
    """The hook answered with success. `status` is that of its answer."""

    type: ClassVar[str] = "WebhookDelivered"
    version: ClassVar[int] = 1

    status: int


class WebhookFailed(WebhookOutcome):
    """The delivery was given up. `reason` is stable; `status` is that of its last answer, if there was one."""

    type: ClassVar[str] = "WebhookFailed"
    version: ClassVar[int] = 1

    reason: str
    status: int | None = None


class QuotaAlertDelivered(WebhookEvent):
    """The hook answered with success to an alert. `alert` is the event that it is about, `status` that of the answer."""

    type: ClassVar[str] = "QuotaAlertDelivered"
    version: ClassVar[int] = 1

    alert: str
    status: int


class QuotaAlertFailed(WebhookEvent):
    """The delivery of an alert was given up. `reason` is stable; `status` is that of its last answer, if there was one."""

    type: ClassVar[str] = "QuotaAlertFailed"
    version: ClassVar[int] = 1

    alert: str
    reason: str
    status: int | None = None


class ScheduleEvent(Event):
    """About a schedule: it submits tasks at its times, for the user who made it."""

    producer: ClassVar[str] = "gateway"
    aggregate: ClassVar[str] = "schedule"

    schedule: str
    org: str


class ScheduleCreated(ScheduleEvent):
    """`cron` has five fields, read in the time zone `zone` (IANA), and counts from `since`. `request` is a submission's JSON."""

    type: ClassVar[str] = "ScheduleCreated"
    version: ClassVar[int] = 1

    user: str
    cron: str
    zone: str
    since: str
    request: Sealed


class ScheduleRemoved(ScheduleEvent):
    """It starts no more tasks."""

    type: ClassVar[str] = "ScheduleRemoved"
    version: ClassVar[int] = 1

    user: str


class ScheduleDue(ScheduleEvent):
    """The run of `due` (RFC 3339, UTC) starts now. `missed` earlier runs do not: nothing ran that could start them."""

    type: ClassVar[str] = "ScheduleDue"
    version: ClassVar[int] = 1

    due: str
    missed: int = 0


class ScheduleRefused(ScheduleEvent):
    """The run of `due` has no task: its submission was refused with the code `reason`."""

    type: ClassVar[str] = "ScheduleRefused"
    version: ClassVar[int] = 1

    due: str
    reason: str


class TriggerEvent(Event):
    """About a trigger: an address to which a forge posts its events. Such an event may start a task."""

    producer: ClassVar[str] = "gateway"
    aggregate: ClassVar[str] = "trigger"

    trigger: str
    org: str


class TriggerCreated(TriggerEvent):
    """Tasks start for `user`. `forge` signs with `secret`; `rules` and `request` are JSON: who may start what, and how."""

    type: ClassVar[str] = "TriggerCreated"
    version: ClassVar[int] = 1

    user: str
    forge: str
    secret: Sealed
    rules: Sealed
    request: Sealed


class TriggerRemoved(TriggerEvent):
    """It starts no more tasks."""

    type: ClassVar[str] = "TriggerRemoved"
    version: ClassVar[int] = 1

    user: str


class BatchEvent(Event):
    """About a batch: many tasks that were handed over in one request, and are submitted one after the other."""

    producer: ClassVar[str] = "gateway"
    aggregate: ClassVar[str] = "batch"

    batch: str
    org: str


class BatchSubmitted(BatchEvent):
    """`size` items, numbered from 1. `items` is the SHA-256 of an object with their requests.

    At most `max_parallel` of its tasks are submitted and not ended. With `stop_on_failure` the first item that fails
    cancels the tasks that run, and no more are submitted. `body_hash` is that of a task.
    """

    type: ClassVar[str] = "BatchSubmitted"
    version: ClassVar[int] = 1

    user: str
    name: Sealed
    items: str
    size: int
    max_parallel: int | None = None
    stop_on_failure: bool = False
    body_hash: str


class BatchItemRefused(BatchEvent):
    """The item `item` has no task: its submission was refused with the code `reason`."""

    type: ClassVar[str] = "BatchItemRefused"
    version: ClassVar[int] = 1

    item: int
    reason: str
    detail: Sealed | None = None


class BatchCancellationRequested(BatchEvent):
    """A user asks that no more of its tasks are submitted, and that those that run end."""

    type: ClassVar[str] = "BatchCancellationRequested"
    version: ClassVar[int] = 1

    user: str


class BatchEnded(BatchEvent):
    """No task of it runs, and no more are submitted. `outcome` is `succeeded` only when all of its tasks have."""

    type: ClassVar[str] = "BatchEnded"
    version: ClassVar[int] = 1

    outcome: Literal["succeeded", "failed", "cancelled"]


class ShareEvent(Event):
    """About a link with which anyone may read one task, and nothing else."""

    producer: ClassVar[str] = "gateway"
    aggregate: ClassVar[str] = "share"

    share: str
    org: str
    task: str
    user: str


class TaskShared(ShareEvent):
    """The link is good until `expires_at` (RFC 3339, UTC). `secret_hash` is the HMAC-SHA256 of its secret, in hex."""

    type: ClassVar[str] = "TaskShared"
    version: ClassVar[int] = 1

    secret_hash: str
    expires_at: str


class TaskUnshared(ShareEvent):
    """The link opens nothing any more."""

    type: ClassVar[str] = "TaskUnshared"
    version: ClassVar[int] = 1
