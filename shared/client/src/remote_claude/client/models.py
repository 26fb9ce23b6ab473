"""What the API takes and answers, generated from its OpenAPI document: `make client`."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class AcceptedInvitation(TypedDict):
    """`AcceptedInvitation`."""

    token: str


class AccountPage(TypedDict):
    """In the order of the organisations' ids. `next` is what to send as `after` to go on, null at the end."""

    accounts: list[AccountUse]
    next: str | None
    as_of: int


class AccountUse(TypedDict):
    """The plan of an organisation, and what it has executed in its latest period."""

    org: str
    plan: str
    period: str
    executions: int


class AgentAnswer(TypedDict):
    """An agent; `offered` says whether a runner that is there now has it.

    With `needs_model_key` no operator's key serves the organisation: a task needs a stored key of one's own.
    """

    name: str
    offered: bool
    needs_model_key: bool


class AgentList(TypedDict):
    """`providers` and `capabilities` (fields of a submission that not every runner fulfils) are those of the runners now."""

    agents: list[AgentAnswer]
    providers: list[str]
    capabilities: list[str]


class AgentOptions(TypedDict):
    """What Claude Code is told besides its prompt.

    `allowed_tools` are its rules, such as `Read` or `Bash(git *)`: with the permission mode `all` nothing else may be used,
    with the others these need no answer. `mcp_servers` is the `mcpServers` of its MCP configuration. `system_prompt` replaces
    its own, `append_system_prompt` follows it.
    """

    allowed_tools: NotRequired[list[str]]
    mcp_servers: NotRequired[dict[str, dict[str, JsonValue]]]
    system_prompt: NotRequired[str | None]
    append_system_prompt: NotRequired[str | None]


class Allowance(TypedDict):
    """The first `quantity` units of a whole period are free; None: all are. Prorated like `Flat`."""

    meter: Literal[
        "executions",
        "vcpu_ms",
        "gib_ms",
        "egress_bytes",
        "storage_byte_days",
        "model_nano_usd",
        "model_tokens",
    ]
    model: NotRequired[str | None]
    token: NotRequired[str | None]
    kind: NotRequired[Literal["allowance"]]
    quantity: int | str | None


class AnsweredPermission(TypedDict):
    """The answer is recorded; the agent has it in a moment."""

    id: str
    request: str
    decision: Literal["allow", "allow_always", "deny"]
    position: int


class AnyTicket(TypedDict):
    """A ticket and its organisation."""

    id: str
    title: str | None
    support: Literal["community", "email", "priority"]
    opened_by: str
    opened_at: str
    closed_at: str | None
    answered: bool
    task: str | None
    bundle: str | None
    org: str


class AnyTicketList(TypedDict):
    """Open ones in the order in which to answer them; closed ones, the latest first."""

    tickets: list[AnyTicket]
    as_of: int


class AttemptAnswer(TypedDict):
    """`AttemptAnswer`."""

    attempt: int
    runner: str
    provider: str
    outcome: Literal["succeeded", "failed", "cancelled", "timed_out", "lost"] | None
    reason: str | None
    detail: str | None
    exit_code: int | None
    started_at: str | None
    finished_at: str | None


class AuditEntry(TypedDict):
    """`action` is the event's type, `actor` the credential that was used, or `operator/...` at `rclaude-admin`.

    `kind` says what `user` is; it is null where nobody did it. Name, address and program are null once the person is
    erased or the service account removed, and where they are not known.
    """

    position: int
    at: str
    action: str
    kind: Literal["person", "service_account", "team", "operator"] | None
    user: str | None
    name: str | None
    actor: str | None
    address: str | None
    agent: str | None
    details: dict[str, Any]


class AuditPage(TypedDict):
    """`next` is the `before` of the page that follows; null on the last one."""

    entries: list[AuditEntry]
    next: int | None
    as_of: int


class AuthorRequest(TypedDict):
    """Who the commit is by. The agent is named in it as its co-author."""

    name: str
    email: str


class BatchAnswer(TypedDict):
    """A batch. `states` counts its items by state; those that have no task yet are `not_submitted`."""

    id: str
    name: str | None
    state: Literal["running", "succeeded", "failed", "cancelled"]
    cancelled: bool
    created_by: str
    created_at: str
    ended_at: str | None
    size: int
    max_parallel: int | None
    stop_on_failure: bool
    states: dict[str, int]


class BatchBillAnswer(TypedDict):
    """The cost of a batch: the sum of the parts that its tasks have of the bills of their periods."""

    batch: str
    currency: str
    tasks: list[BatchTaskCost]
    total_nano_usd: int
    as_of: int


class BatchDetails(TypedDict):
    """A batch with its items, in their order."""

    id: str
    name: str | None
    state: Literal["running", "succeeded", "failed", "cancelled"]
    cancelled: bool
    created_by: str
    created_at: str
    ended_at: str | None
    size: int
    max_parallel: int | None
    stop_on_failure: bool
    states: dict[str, int]
    items: list[BatchItemAnswer]
    as_of: int


class BatchItemAnswer(TypedDict):
    """An item. `task` is null until it is submitted, and where it was refused for `reason`."""

    number: int
    key: str | None
    task: str | None
    state: (
        Literal[
            "submitted",
            "queued",
            "assigned",
            "running",
            "succeeded",
            "failed",
            "cancelled",
            "timed_out",
            "rejected",
        ]
        | Literal["not_submitted", "refused"]
    )
    reason: str | None
    detail: str | None
    exit_code: int | None


class BatchPage(TypedDict):
    """Batches of the organisation, newest first."""

    batches: list[BatchAnswer]
    next: str | None
    as_of: int


class BatchTaskCost(TypedDict):
    """What one task of a batch costs."""

    task: str
    total_nano_usd: int


class BestOfRequest(TypedDict):
    """The task is number `index` of `size` tasks that try the same. All of them carry the same `group`."""

    group: str
    index: int
    size: int


class BillAnswer(TypedDict):
    """The current bill of a period."""

    org: str
    plan: str | None
    period: str
    starts_at: str
    ends_at: str
    currency: str
    price_book: str
    lines: list[BillLine]
    total_nano_usd: int
    as_of: int


class BillEventPage(TypedDict):
    """In log order. `next` is the position to go on after, null when nothing follows by now."""

    events: list[Evidence]
    next: int | None
    as_of: int


class BillLine(TypedDict):
    """`quantity` of a meter, of which `included` is free, at `unit_price`, null where tiers make it.

    `events` is how many it is the sum of. `segment` counts the parts of a period that have prices of their own.
    """

    meter: str
    unit: str
    quantity: int
    included: int
    unit_price: str | None
    amount_nano_usd: int
    events: int
    model: NotRequired[str | None]
    token: NotRequired[str | None]
    segment: NotRequired[int]
    price_book: str


class BillingAddress(TypedDict):
    """Who invoices are made out to. `country` (ISO 3166, two letters) decides the tax; `email` gets the invoices."""

    name: str
    address: list[str]
    country: str
    vat_id: NotRequired[str | None]
    email: NotRequired[str | None]


class BillingAddressAnswer(TypedDict):
    """Null where none was set."""

    address: BillingAddress | None


class BlobAnswer(TypedDict):
    """`BlobAnswer`."""

    sha256: str
    size: int


class BeginDeviceForm(TypedDict):
    """`Body_begin_device`."""

    client_id: str


class IssueTokenForm(TypedDict):
    """`Body_issue_token`."""

    grant_type: str
    client_id: NotRequired[str]
    code: NotRequired[str]
    redirect_uri: NotRequired[str]
    code_verifier: NotRequired[str]
    device_code: NotRequired[str]
    refresh_token: NotRequired[str]
    github_token: NotRequired[str]


class CancelAnswer(TypedDict):
    """`state` is the state before the request took effect; `position` is that of the request."""

    id: str
    state: Literal[
        "submitted",
        "queued",
        "assigned",
        "running",
        "succeeded",
        "failed",
        "cancelled",
        "timed_out",
        "rejected",
    ]
    position: int


class CancelledBatch(TypedDict):
    """Asked for: tasks that run end, and no more are submitted."""

    id: str
    position: int


class ConservationAnswer(TypedDict):
    """`breaches` says what does not add up, by name; empty while all does."""

    period: str
    meters: list[MeterSums]
    breaches: dict[str, int]


class CouponCode(TypedDict):
    """A coupon by its code; capital letters do not matter."""

    code: str


class CouponTerms(TypedDict):
    """What a coupon takes off an invoice: `percent` of it, or `amount_nano` billionths of the currency's unit.

    It takes from the next `periods` invoices that have something to pay.
    """

    percent: NotRequired[str | None]
    amount_nano: NotRequired[int | str | None]
    currency: NotRequired[str]
    periods: NotRequired[int]


class CreatedShare(TypedDict):
    """`path` is that of the page, with the secret. It is shown this once."""

    id: str
    created_by: str
    created_at: str
    expires_at: str
    path: str


class CreatedTrigger(TypedDict):
    """`secret` is shown this once: the forge signs with it."""

    id: str
    forge: Literal["github", "gitea", "gitlab", "bitbucket", "azure"]
    path: str
    created_by: str
    created_at: str
    allow: list[str]
    repositories: list[str]
    command: str | None
    label: str | None
    last_task: str | None
    secret: str


class Cumulative(TypedDict):
    """Everything an attempt has used since it started.

    `vcpu_ms` and `gib_ms` are allocation times wall clock, in thousandths of vCPU-seconds and GiB-seconds. `egress_bytes`
    passed the egress proxy, both ways.
    `model_use` has one entry for each rate class, measured at the proxy. It comes to `model_nano_usd` billionths of a
    dollar on the operator's credential and to `customer_model_nano_usd` on the customer's own, which is not charged:
    both follow from the quantities and the price table of version `price_table`.
    """

    vcpu_ms: NotRequired[int | str]
    gib_ms: NotRequired[int | str]
    egress_bytes: NotRequired[int | str]
    model_use: NotRequired[list[ModelUse]]
    model_nano_usd: NotRequired[int | str]
    customer_model_nano_usd: NotRequired[int | str]
    price_table: NotRequired[str | None]


class DeletedOrgAnswer(TypedDict):
    """A deleted organisation that the caller may bring back until `erased_at`."""

    id: str
    name: str | None
    erased_at: str


class DeliveryAnswer(TypedDict):
    """The delivery of one task's end, or of an alert about a quota, without a task; and its outcome. `id` is its `webhook-id`.

    `at` and `position` are those of the outcome; of a pending delivery, those of the task's end. `status` is that of the
    last answer, `reason` says why the delivery failed.
    """

    id: str
    task: str | None
    outcome: Literal["pending", "delivered", "failed"]
    status: int | None
    reason: str | None
    at: str
    position: int


class DeliveryPage(TypedDict):
    """Newest first. `next` is what to send as `before` to go on, null at the end."""

    deliveries: list[DeliveryAnswer]
    next: int | None
    as_of: int


class Entitlements(TypedDict):
    """What a plan allows. None means unlimited.

    `vcpu_millis`, `memory_mib` and `duration_s` bound one attempt; `concurrency` the attempts at one time; `members` and
    `storage_bytes` the organisation. `model_nano_usd` bounds the model dollars of a period, `total_nano_usd` what
    all use of it comes to without flat amounts. With `overage`, more
    executions than `executions_per_month` are admitted, and charged; its limits of storage and money are soft as well. `weight` is the share of the queue, against others'.
    """

    executions_per_month: int | None
    vcpu_millis: int
    memory_mib: int
    duration_s: int
    concurrency: NotRequired[int | None]
    members: NotRequired[int | None]
    storage_bytes: NotRequired[int | str | None]
    model_nano_usd: NotRequired[int | str | None]
    total_nano_usd: NotRequired[int | str | None]
    overage: NotRequired[bool]
    weight: NotRequired[int]
    support: NotRequired[Literal["community", "email", "priority"]]
    retention: NotRequired[Retention]


class EventAnswer(TypedDict):
    """An event of the log, without its sealed texts."""

    position: int
    id: str
    type: str
    version: int
    time: str
    data: dict[str, Any]


class EventPage(TypedDict):
    """In log order. `next` is the position to go on after, null when nothing follows by now."""

    events: list[EventAnswer]
    next: int | None
    as_of: int


class Evidence(TypedDict):
    """An event behind a line: `quantity` of `meter`, in its own unit. `model` and `token` for tokens."""

    meter: str
    model: NotRequired[str | None]
    token: NotRequired[str | None]
    period: str
    segment: int
    task: str
    attempt: int | None
    event_id: str
    position: int
    quantity: int


class Executions(TypedDict):
    """`limit` is null where the plan has none."""

    used: int
    limit: int | None


class Explanation(TypedDict):
    """What a line is derived from. `events` in log order; `next` is the position to go on after, null at the end.

    `chain` has the links of these events in the log's hash chain, as far as they are archived.
    """

    invoice: str
    number: str
    closed_at: int
    line: InvoiceLine
    events: list[Evidence]
    chain: list[Link]
    next: int | None


class ExportedEvent(TypedDict):
    """An event as it is stored, in base64, with its link of the hash chain in hexadecimal digits."""

    position: int
    subject: str
    headers: str
    data: str
    previous: str
    hash: str


class ExportedEvidence(TypedDict):
    """What an event counts for: `quantity` of a meter, in its own unit, a decimal string."""

    meter: str
    model: str | None
    token: str | None
    segment: int
    task: str
    attempt: int | None
    event_id: str
    position: int
    quantity: str


class ExportedSegment(TypedDict):
    """A part of the period with prices of its own. `share` is the part of a flat amount, a fraction."""

    segment: int
    starts_at: str
    ends_at: str
    share: str
    price_book: PriceBook


class Flat(TypedDict):
    """`amount` for a whole period; the share of its time where a plan has only a part of it."""

    kind: NotRequired[Literal["flat"]]
    amount: str


class ForgeCredential(TypedDict):
    """Either a token, or on GitHub an App, whose installation gives tokens that are good for an hour."""

    value: NotRequired[str | None]
    app: NotRequired[GitHubApp | None]


class GitHubApp(TypedDict):
    """A GitHub App and its installation by their ids, and the App's private key (PEM)."""

    app: str
    installation: str
    key: str


class Graduated(TypedDict):
    """Each unit at the price of the tier that it falls into."""

    meter: Literal[
        "executions",
        "vcpu_ms",
        "gib_ms",
        "egress_bytes",
        "storage_byte_days",
        "model_nano_usd",
        "model_tokens",
    ]
    model: NotRequired[str | None]
    token: NotRequired[str | None]
    tiers: list[Tier]
    kind: NotRequired[Literal["graduated"]]


class IdentityAnswer(TypedDict):
    """An account at a provider that signs the person in. `subject` is what the provider knows them by."""

    id: str
    provider: str
    subject: str | None
    linked_at: str


class IdentityList(TypedDict):
    """`IdentityList`."""

    identities: list[IdentityAnswer]
    as_of: int


class InstalledOrg(TypedDict):
    """An organisation of the installation. `suspended` is the reason that its members see, null while it is not.

    `erased_at` is set while it is deleted and can come back.
    """

    id: str
    name: str | None
    personal: bool
    members: int
    created_at: str
    suspended: str | None
    erased_at: str | None


class InstalledOrgPage(TypedDict):
    """In the order of their ids. `next` is what to send as `after` to go on, null at the end."""

    orgs: list[InstalledOrg]
    next: str | None
    as_of: int


class InvitationAnswer(TypedDict):
    """`InvitationAnswer`."""

    id: str
    role: Literal["owner", "admin", "member", "billing"]
    email: str | None
    invited_by: str
    expires_at: str


class InvitationCreated(TypedDict):
    """`url` is the link for the person who is invited. It is shown once. `mailed`: it was sent to their address too."""

    id: str
    url: str
    expires_at: str
    mailed: bool


class InvoiceAnswer(TypedDict):
    """`document` is the invoice itself: its canonical JSON has the hash `json_sha256`."""

    id: str
    number: str
    period: str
    currency: str
    total: int
    state: str
    issued_at: str
    due_at: str
    paid_at: str | None
    json_sha256: str
    pdf_sha256: str
    document: InvoiceContents


class InvoiceContents(TypedDict):
    """An invoice. Amounts are in the currency's smallest unit, which has `minor_digits` digits behind the point."""

    document: Literal["invoice"]
    invoice: str
    number: str
    seller: InvoiceSeller
    customer: InvoiceCustomer
    currency: str
    minor_digits: int
    period: InvoicePeriod
    issued_at: str
    due_at: str
    closed_at: int
    lines: list[InvoiceLine]
    subtotal: int
    tax: int
    total: int


class InvoiceCustomer(TypedDict):
    """Who it is made out to. All but `org` is null where no billing address was set."""

    org: str
    country: str | None
    name: str | None
    address: list[str] | None
    vat_id: str | None


class InvoiceDraft(TypedDict):
    """An invoice as it would be now, without an id and a number. `state` is `final` once it is issued."""

    document: Literal["invoice"]
    invoice: str
    number: str
    seller: InvoiceSeller
    customer: InvoiceCustomer
    currency: str
    minor_digits: int
    period: InvoicePeriod
    issued_at: str
    due_at: str
    closed_at: int
    lines: list[InvoiceLine]
    subtotal: int
    tax: int
    total: int
    state: Literal["draft", "grace", "final"]


class InvoiceExport(TypedDict):
    """An invoice with its prices and events. `signature` (Ed25519, hexadecimal digits) covers the canonical JSON of the rest."""

    export: Literal["invoice"]
    version: Literal[1]
    exported_at: str
    invoice: InvoiceContents
    json_sha256: str
    pdf_sha256: str
    segments: list[ExportedSegment]
    evidence: list[ExportedEvidence]
    chain: list[ExportedEvent]
    public_key: str
    signature: str


class InvoiceLine(TypedDict):
    """`amount` is in the currency's smallest unit. Decimals and fractions are strings.

    A line of the kind `usage` has what it was rated from, one of the kind `adjustment` has its period.
    """

    line: int
    kind: Literal["usage", "adjustment", "carried", "coupon", "credit", "tax", "correction"]
    description: str
    amount: int
    amount_nano: NotRequired[int]
    meter: NotRequired[str]
    model: NotRequired[str | None]
    token: NotRequired[str | None]
    segment: NotRequired[int]
    price_book: NotRequired[str]
    unit: NotRequired[str]
    quantity: NotRequired[str]
    included: NotRequired[str]
    unit_price: NotRequired[str | None]
    share: NotRequired[str]
    adjustment: NotRequired[str]
    period: NotRequired[str]
    credit: NotRequired[str]
    coupon: NotRequired[str]


class InvoiceList(TypedDict):
    """In the order in which they were issued."""

    invoices: list[InvoiceSummary]


class InvoicePeriod(TypedDict):
    """From `starts_at`, before `ends_at`: RFC 3339, UTC."""

    id: str
    starts_at: str
    ends_at: str


class InvoiceSeller(TypedDict):
    """Who issued the invoice."""

    id: str
    legal_name: str
    address: list[str]
    tax_id: str | None


class InvoiceSummary(TypedDict):
    """`total` is in the currency's smallest unit. `state`: `open`, `paid`, `past_due`, `corrected`."""

    id: str
    number: str
    period: str
    currency: str
    total: int
    state: str
    issued_at: str
    due_at: str
    paid_at: str | None
    json_sha256: str
    pdf_sha256: str


class JoinedRunner(TypedDict):
    """A machine of one's own that is a runner. `state` is `joined`, `draining` or `away`; `tasks` run there now."""

    name: str
    runner: str
    state: str
    release: str
    slots: int
    agents: list[str]
    labels: dict[str, str]
    tasks: list[str]


class JoinedRunners(TypedDict):
    """The machines of one organisation, by name."""

    runners: list[JoinedRunner]


class JsonValue(TypedDict):
    """`JsonValue`."""


class KeyAnswer(TypedDict):
    """A key that is good. `prefix` is what it is recognised by, `name` what its owner calls it.

    `used_at` is its last use, to the hour; null where it was never used.
    """

    id: str
    name: str | None
    prefix: str
    user: str
    scopes: list[str]
    created_at: str
    expires_at: str | None
    used_at: str | None


class KeyCreated(TypedDict):
    """`secret` is the key itself: it is shown this once."""

    id: str
    secret: str
    scopes: list[str]
    expires_at: str | None
    position: int


class KeyList(TypedDict):
    """`KeyList`."""

    keys: list[KeyAnswer]
    as_of: int


class KeySetAnswer(TypedDict):
    """RFC 7517."""

    keys: list[dict[str, Any]]


class Link(TypedDict):
    """An event's link of the hash chain: both hashes in hexadecimal digits."""

    position: int
    previous: str
    hash: str


class LinkAnswer(TypedDict):
    """A link that signs a browser in, once, within `expires_in` seconds."""

    url: str
    expires_in: int


class ListedRepositoryAnswer(TypedDict):
    """A repository that the token can see. `url` is what a task takes."""

    name: str
    url: str
    private: bool
    default_branch: str


class MemberAnswer(TypedDict):
    """`MemberAnswer`."""

    user: str
    name: str | None
    email: str | None
    role: Literal["owner", "admin", "member", "billing"]
    joined_at: str


class MemberList(TypedDict):
    """`MemberList`."""

    members: list[MemberAnswer]
    invitations: list[InvitationAnswer]
    as_of: int


class MembershipAnswer(TypedDict):
    """`MembershipAnswer`."""

    org: str
    role: Literal["owner", "admin", "member", "billing"]


class MessageAnswer(TypedDict):
    """The message is recorded, as number `number` of the task. The agent takes it after its current turn."""

    id: str
    number: int
    position: int


class MessageRequest(TypedDict):
    """A message to the agent of a task that has not ended."""

    text: str
    interrupt: NotRequired[bool]
    """End what the agent does at the moment, and take this at once."""


class MetadataAnswer(TypedDict):
    """RFC 8414."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    device_authorization_endpoint: str
    jwks_uri: str
    response_types_supported: list[str]
    grant_types_supported: list[str]
    code_challenge_methods_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]


class MeterSums(TypedDict):
    """`metered` = `charged` + `included` + `written_off`, in the meter's own unit; `unaccounted` is the rest."""

    meter: str
    metered: int
    charged: int
    included: int
    written_off: int
    unaccounted: int


class Minimum(TypedDict):
    """What is metered comes to `amount` at least, for a whole period. Prorated like `Flat`."""

    kind: NotRequired[Literal["minimum"]]
    amount: str


class ModelAnswer(TypedDict):
    """`used`: tasks of the caller use this one."""

    name: str
    of: Literal["person", "organisation"]
    provider: str
    base_url: str
    region: str | None
    project: str | None
    model: str | None
    used: bool


class ModelChoice(TypedDict):
    """The name of a credential; null is the operator's."""

    name: str | None


class ModelList(TypedDict):
    """`ModelList`."""

    models: list[ModelAnswer]


class ModelUse(TypedDict):
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
    region: NotRequired[str]
    speed: NotRequired[str]
    tier: NotRequired[str]
    prompt: NotRequired[str]
    paid_by: NotRequired[Literal["operator", "customer"]]
    unknown: NotRequired[bool]
    calls: NotRequired[int | str]
    estimated: NotRequired[int | str]
    quantities: NotRequired[dict[str, int | str]]


class MonthBudget(TypedDict):
    """What models have cost this month, and the budgets that bound it.

    `person` is the caller, `team` the first team that they are in; null for those who are in none.
    """

    period: str
    ends_at: str
    organisation: SpentAnswer
    team: SpentAnswer | None
    person: SpentAnswer
    as_of: int


class NewBudget(TypedDict):
    """Billionths of a dollar a month; null lifts the limit."""

    nano_usd: int | None


class NewInvitation(TypedDict):
    """`NewInvitation`."""

    role: NotRequired[Literal["owner", "admin", "member", "billing"]]
    email: NotRequired[str | None]


class NewKey(TypedDict):
    """`scopes` are at most the caller's own; left out: everything inside the organisation."""

    name: str
    scopes: NotRequired[list[str] | None]
    expires_in_days: NotRequired[int | None]
    service_account: NotRequired[str | None]
    team: NotRequired[str | None]


class NewMessage(TypedDict):
    """`NewMessage`."""

    text: str


class NewModel(TypedDict):
    """A credential for a model's service of a kind: `provider`.

    `value` is the service's API key; for Bedrock also `KEY_ID:SECRET` of AWS, with `:SESSION_TOKEN` behind it for a
    temporary one; for Vertex the JSON of a service account's key in one line, or an access token. `kind` is for
    `anthropic`: an API key, or a token that is sent as `Authorization: Bearer`. Bedrock needs `region` and `model`, Vertex
    `project` as well. `model` is the default of tasks.
    """

    value: str
    provider: NotRequired[Literal["anthropic", "openai", "bedrock", "vertex", "gemini"]]
    kind: NotRequired[Literal["key", "token"]]
    base_url: NotRequired[str | None]
    region: NotRequired[str | None]
    project: NotRequired[str | None]
    model: NotRequired[str | None]


class NewOrg(TypedDict):
    """`NewOrg`."""

    name: str


class NewOwner(TypedDict):
    """The member who is to own the organisation."""

    user: str


class NewRole(TypedDict):
    """`NewRole`."""

    role: Literal["owner", "admin", "member", "billing"]


class NewSecret(TypedDict):
    """`hosts` are where the value may go. With `as_env` the sandbox gets the value itself, and can read it."""

    value: str
    hosts: NotRequired[list[str]]
    as_env: NotRequired[bool]


class NewTeam(TypedDict):
    """`NewTeam`."""

    name: str


class NewTicket(TypedDict):
    """`bundle` is a file of diagnostics in base64, as `rclaude support bundle` writes it."""

    title: str
    text: str
    task: NotRequired[str | None]
    bundle: NotRequired[str | None]


class NewToken(TypedDict):
    """A secret value: one line of visible ASCII, as tokens are."""

    value: str


class NewWebhook(TypedDict):
    """`url` is where to post to: http:// or https://, of at most 2,048 characters.

    `format` `slack` posts a text for a Slack-compatible incoming webhook instead of a signed message.
    """

    url: str
    format: NotRequired[Literal["standard", "slack"]]


class OpenSessionAnswer(TypedDict):
    """A session that is open. `address` and `agent` are of the program that signed in."""

    id: str
    kind: Literal["browser", "cli"]
    method: str
    address: str | None
    agent: str | None
    opened_at: str
    used_at: str
    expires_at: str
    current: bool


class OrgAnswer(TypedDict):
    """`role` is the caller's. `personal` is the one that every person has from the start."""

    id: str
    name: str | None
    personal: bool
    role: Literal["owner", "admin", "member", "billing"]
    created_at: str


class OrgChanged(TypedDict):
    """`position` is that of the change: reads with `min_position` show it."""

    id: str
    position: int


class OrgList(TypedDict):
    """`deleted` are those of a person who owned them; an API key sees none."""

    orgs: list[OrgAnswer]
    deleted: list[DeletedOrgAnswer]
    as_of: int


OutputFrame = dict[str, Any]
"""A frame of the agent with its place, which is what `after` takes; `kind` says what else it holds."""


class OutputPage(TypedDict):
    """In order. `next` is the cursor to go on after.

    `more` says that the page was full, `complete` that nothing comes after it any more.
    """

    frames: list[OutputFrame]
    next: str
    more: bool
    complete: bool
    as_of: int


class OutputSize(TypedDict):
    """Frames of all attempts whose output is sealed; `complete` when that is all there will be."""

    frames: int
    complete: bool


class Page(TypedDict):
    """The address of a page to open in a browser."""

    url: str


class ParkedAnswer(TypedDict):
    """An event that a view could not fold. `reason` is the error, or says that it waits behind an earlier one."""

    view: str
    position: int
    id: str
    type: str
    version: int
    aggregate: str
    reason: str


class ParkedList(TypedDict):
    """By view, then in log order."""

    parked: list[ParkedAnswer]


class PerUnit(TypedDict):
    """`price` for every unit that is not included."""

    meter: Literal[
        "executions",
        "vcpu_ms",
        "gib_ms",
        "egress_bytes",
        "storage_byte_days",
        "model_nano_usd",
        "model_tokens",
    ]
    model: NotRequired[str | None]
    token: NotRequired[str | None]
    kind: NotRequired[Literal["per_unit"]]
    price: str


class PermissionAnswerRequest(TypedDict):
    """The answer to a permission request of the agent."""

    decision: Literal["allow", "allow_always", "deny"]
    """`allow_always` permits the like for the rest of the agent's conversation."""
    message: NotRequired[str | None]
    """With `deny`: what the agent is told."""


class PermissionAsked(TypedDict):
    """The agent waits for an answer: may it use `tool` with `input`? Long texts in it are cut; null once erased."""

    request: str
    attempt: int
    tool: str
    input: dict[str, Any] | None
    asked_at: str


class PersonAnswer(TypedDict):
    """A person. Texts are null once the person is erased."""

    user: str
    name: str | None
    email: str | None
    as_of: int


class Plan(TypedDict):
    """A plan as it is offered: what it allows, what it costs, and which plan to suggest to those who need more."""

    plan: str
    version: str
    entitlements: Entitlements
    price_book: PriceBook
    upgrade_to: NotRequired[str | None]
    self_service: NotRequired[bool]


class PlanAssigned(TypedDict):
    """`note` says why no runner can take a task of the plan; null where one can."""

    org: str
    plan: str
    position: int
    note: str | None


class PlanChange(TypedDict):
    """`effective_at` is when the organisation is on `plan`."""

    plan: str
    effective_at: str


class PlanList(TypedDict):
    """The plans that can be chosen."""

    plans: list[Plan]


class PlanRequest(TypedDict):
    """The plan to change to."""

    plan: str


class PolicyAnswer(TypedDict):
    """The policy in force."""

    agents: list[str]
    models: list[str]
    providers: list[str]
    images: list[str]
    hosts: list[str]
    network: list[str]
    default_provider: str | None
    max_budget_nano_usd: int | None
    task_visibility: Literal["own", "team", "organisation"]


class PolicyRules(TypedDict):
    """What tasks may use; an empty list allows everything. `models` and `images` are patterns with `*`.

    `hosts` are what a task may connect to, `default` for the product's list; `network` is added to that list. A task
    that names no provider gets `default_provider`, or the first of `providers`. `max_budget_nano_usd` bounds the budget of a
    task, in billionths of a dollar, and is the budget of one that names none. `task_visibility` says which tasks a member
    sees and steers: their own, those of their teams too, or all of the organisation. Owners and admins see all.
    """

    agents: NotRequired[list[str]]
    models: NotRequired[list[str]]
    providers: NotRequired[list[str]]
    images: NotRequired[list[str]]
    hosts: NotRequired[list[str]]
    network: NotRequired[list[str]]
    default_provider: NotRequired[str | None]
    max_budget_nano_usd: NotRequired[int | None]
    task_visibility: NotRequired[Literal["own", "team", "organisation"]]


class PriceBook(TypedDict):
    """The prices of one version of a plan. A meter without a price costs nothing."""

    version: str
    currency: NotRequired[str]
    components: NotRequired[list[Flat | PerUnit | Graduated | Volume | Allowance | Minimum]]


class PriceFile(TypedDict):
    """`file` is TOML with catalog, seller and plans, as `rclaude-admin prices publish` takes it."""

    file: str


ProblemDocument = dict[str, Any]
"""RFC 9457. `code` is stable; `detail` says what to do next; some codes carry further fields."""


class ProviderAnswer(TypedDict):
    """`url` begins the sign-in."""

    name: str
    title: str
    url: str


class ProviderList(TypedDict):
    """`ProviderList`."""

    providers: list[ProviderAnswer]


class PublishedPrices(TypedDict):
    """`position` is that of the event; the same prices again are not recorded again."""

    catalog: str
    plans: list[str]
    position: int


class PullRequestAnswer(TypedDict):
    """The pull request of the task's result. `requested`: it is opened once the task has succeeded.

    After `failed`, `detail` says what happened and what to do; the task and its result stay as they are.
    """

    state: Literal["requested", "opened", "failed"]
    forge: str | None
    number: int | None
    url: str | None
    branch: str | None
    reason: str | None
    detail: str | None


class PullRequestRequest(TypedDict):
    """Open a pull request when the task has succeeded; `repo` names an https URL then.

    Without `base` it goes to `repo.ref`, without that to the repository's default branch.
    """

    draft: NotRequired[bool]
    base: NotRequired[str | None]
    title: NotRequired[str | None]
    reviewers: NotRequired[list[str]]
    """As the forge's API names them: logins, `ORG/TEAM`, on Bitbucket account ids, on Azure DevOps ids."""
    labels: NotRequired[list[str]]
    workflows: NotRequired[bool]
    """The result may change files that the forge runs, such as those in `.github/workflows`."""


class PullRequestRequestAnswer(TypedDict):
    """The pull request if it is open already. Otherwise it is requested: reads with `min_position` show it."""

    id: str
    position: int
    pull_request: PullRequestAnswer | None


class RedeemedCoupon(TypedDict):
    """What the coupon takes off the next invoices."""

    coupon: str
    terms: CouponTerms


class ReplayAnswer(TypedDict):
    """`position` is that of the request: deliveries that are read at it show the new one."""

    position: int


class ReplayRequest(TypedDict):
    """The task whose end is posted once more."""

    task: str


class RepositoryAnswer(TypedDict):
    """`RepositoryAnswer`."""

    url: NotRequired[str | None]
    ref: NotRequired[str | None]
    bundle: NotRequired[str | None]


class RepositoryList(TypedDict):
    """At most 100."""

    repositories: list[ListedRepositoryAnswer]


class RepositoryRequest(TypedDict):
    """Either a URL to clone, with a branch, tag or commit if it is not the default one, or an uploaded bundle."""

    url: NotRequired[str | None]
    ref: NotRequired[str | None]
    bundle: NotRequired[str | None]
    origin: NotRequired[str | None]
    """Of a bundle: the URL of the repository that it was made of. Only a keyed hash of it is kept, by which costs can be grouped."""


class Result(TypedDict):
    """What an attempt leaves: objects by SHA-256, commits by Git's id. `commit` is None when nothing was changed,
    and for a task that leaves a patch only: the bundle carries the change of `patch` then.

    `artifacts` is a tar archive of the files that the agent left for people. All objects hold `size` bytes together.
    """

    base: NotRequired[str | None]
    sent: NotRequired[str | None]
    commit: NotRequired[str | None]
    bundle: NotRequired[str | None]
    patch: NotRequired[str | None]
    artifacts: NotRequired[str | None]
    size: NotRequired[int | str]


class Retention(TypedDict):
    """For how many days after its end a task's content is kept. None: as long as the organisation exists.

    `output` is what its agent printed, kept for at least the week that the broker has it as well; `artifacts` its result:
    commits, patch and files; `checkpoints` the agent's conversation and working tree.
    """

    output_days: NotRequired[int | None]
    artifacts_days: NotRequired[int | None]
    checkpoints_days: NotRequired[int | None]


class RetryAnswer(TypedDict):
    """Positions that are folded now, and what is parked still."""

    folded: list[int]
    parked: list[ParkedAnswer]


class RetryRequest(TypedDict):
    """`position` names one event, which is tried with what waits behind it; without it all that is parked in the view."""

    view: str
    position: NotRequired[int | None]


class ScheduleAnswer(TypedDict):
    """A schedule. `missed` counts runs that nothing could start in time; `last_refusal` is the code that the last run met."""

    id: str
    cron: str
    zone: str
    created_by: str
    created_at: str
    prompt: str | None
    agent: str | None
    next_due: str
    last_due: str | None
    last_task: str | None
    last_refusal: str | None
    missed: int


class ScheduleList(TypedDict):
    """Schedules of the organisation, the oldest first."""

    schedules: list[ScheduleAnswer]


class ScheduleRequest(TypedDict):
    """A task, and when it is submitted: five cron fields in a time zone, such as `0 7 * * 1-5` in `Europe/Berlin`."""

    cron: str
    zone: NotRequired[str]
    task: SubmitRequest


class SecretAnswer(TypedDict):
    """`of` is its owner. If both have one of this name, the person's is used."""

    name: str
    of: Literal["person", "organisation"]
    hosts: list[str]
    as_env: bool
    stored_by: str


class SecretChanged(TypedDict):
    """`SecretChanged`."""

    name: str | None
    position: int


class SecretList(TypedDict):
    """`SecretList`."""

    secrets: list[SecretAnswer]


class ServiceAccountAnswer(TypedDict):
    """`ServiceAccountAnswer`."""

    id: str
    name: str | None
    created_by: str
    created_at: str


class ServiceAccountList(TypedDict):
    """`ServiceAccountList`."""

    service_accounts: list[ServiceAccountAnswer]
    as_of: int


class SessionAnswer(TypedDict):
    """Who is asking. `org` is the organisation that requests without the header `Rclaude-Org` act for.

    `csrf_token` is there for a session cookie: a changing request sends it as `X-CSRF-Token`.
    """

    user: str
    org: str | None
    role: Literal["owner", "admin", "member", "billing"] | None
    memberships: list[MembershipAnswer]
    scopes: list[str]
    credential: Literal["api_key", "service_account_key", "session", "access_token"]
    session: str | None
    csrf_token: str | None


class SessionList(TypedDict):
    """`SessionList`."""

    sessions: list[OpenSessionAnswer]
    as_of: int


class ShareAnswer(TypedDict):
    """A link without its secret."""

    id: str
    created_by: str
    created_at: str
    expires_at: str


class ShareList(TypedDict):
    """The links of a task that are neither expired nor revoked, the oldest first."""

    shares: list[ShareAnswer]


class ShareRequest(TypedDict):
    """How long the link is good, in days."""

    days: NotRequired[int]


class SharedTask(TypedDict):
    """A task as its link shows it: without people, cost and runners. Texts are null once erased."""

    id: str
    state: Literal[
        "submitted",
        "queued",
        "assigned",
        "running",
        "succeeded",
        "failed",
        "cancelled",
        "timed_out",
        "rejected",
    ]
    reason: str | None
    agent: str
    title: str | None
    prompt: str | None
    submitted_at: str
    started_at: str | None
    finished_at: str | None
    has_patch: bool
    expires_at: str


class SigningKeyAnswer(TypedDict):
    """The public key as OpenSSH and forges take it; null without one. Commits that are pushed are signed with its private half."""

    public_key: str | None


class SimulatedPeriod(TypedDict):
    """A period of an organisation in nano-dollars: `before` at its own prices, `after` at those of the file."""

    org: str
    period: str
    plans: list[str]
    before: int
    after: int


class Simulation(TypedDict):
    """`Simulation`."""

    catalog: str
    periods: list[SimulatedPeriod]


class SimulationRequest(TypedDict):
    """`last` counts the periods of each organisation."""

    file: str
    last: NotRequired[int]


class SpentAnswer(TypedDict):
    """Billionths of a dollar; `limit_nano_usd` is null where no budget is set."""

    spent_nano_usd: int
    limit_nano_usd: int | None


class SubmitAnswer(TypedDict):
    """`position` is that of the decision, or of the submission while there is none: reads with `min_position` show it.

    After a `wait`, `task` is the whole task, and `state` and `position` are those of its last change.
    """

    id: str
    state: Literal[
        "submitted",
        "queued",
        "assigned",
        "running",
        "succeeded",
        "failed",
        "cancelled",
        "timed_out",
        "rejected",
    ]
    position: int
    task: NotRequired[TaskAnswer | None]


class SubmitRequest(TypedDict):
    """A task. `timeout_s` bounds each attempt; without it the plan does.

    Where no runner offers `model`, `image`, `network`, `secrets` or `budget_nano_usd`, a task that asks for it
    is refused as `not_offered`.
    """

    model: NotRequired[str | None]
    provider: NotRequired[str | None]
    """Where it runs, such as `local`; anywhere without it."""
    image: NotRequired[str | None]
    permission_mode: NotRequired[Literal["all", "edits", "ask"] | None]
    """What the agent may do without asking: `all` (if left out), `edits` of files only, or nothing (`ask`). The task waits for the answers."""
    agent_options: NotRequired[AgentOptions | None]
    """Of the agent `claude` only."""
    network: NotRequired[str | None]
    """Where the task may connect to: `none`, `default` (package registries and forges), or hosts."""
    secrets: NotRequired[list[str]]
    """Names, never values."""
    budget_nano_usd: NotRequired[int | None]
    """Bounds what the models of all attempts may cost, in billionths of a dollar."""
    continues: NotRequired[str | None]
    """The finished task whose branch and conversation this one takes up."""
    checkpoint: NotRequired[str | None]
    """The SHA-256 of an uploaded archive with a conversation that the task takes up (`rclaude push`)."""
    best_of: NotRequired[BestOfRequest | None]
    repo: NotRequired[RepositoryRequest | None]
    pull_request: NotRequired[PullRequestRequest | None]
    author: NotRequired[AuthorRequest | None]
    feedback: NotRequired[bool]
    """With `continues`: review comments and failing checks of its pull request follow the prompt."""
    patch_only: NotRequired[bool]
    """Make no commit: the result is a patch. Does not go with `pull_request`."""
    max_attempts: NotRequired[int]
    timeout_s: NotRequired[int | None]
    priority: NotRequired[int]
    labels: NotRequired[dict[str, str]]
    team: NotRequired[str | None]
    """The id of a team of yours; the first one that you are in if left out."""
    prompt: str
    """At most 64 KiB of UTF-8."""
    agent: str


class SubmittedBatch(TypedDict):
    """`is_new` is false for a batch that was submitted before with the same `Idempotency-Key`."""

    id: str
    size: int
    is_new: bool
    position: int


class Suspension(TypedDict):
    """Why; the members see it when they submit a task. No personal data."""

    reason: str


class TaskAnswer(TypedDict):
    """A task. `position` is that of its submission, `changed` that of its last change of state, attempt, permissions or pull
    request. `permissions` are what its agent waits for.

    Once it has ended, `kept_until` says until when its content is kept, null for always, and `removed` what is no longer kept.
    `reason` is a stable code, `detail` a sentence about it. Texts are null once the organisation's key is erased.
    """

    id: str
    state: Literal[
        "submitted",
        "queued",
        "assigned",
        "running",
        "succeeded",
        "failed",
        "cancelled",
        "timed_out",
        "rejected",
    ]
    reason: str | None
    agent: str
    title: str | None
    labels: dict[str, str]
    repo: RepositoryAnswer | None
    attempt: int
    max_attempts: int
    exit_code: int | None
    submitted_by: str
    team: str | None
    submitted_at: str
    started_at: str | None
    finished_at: str | None
    position: int
    waiting: NotRequired[TaskWaiting | None]
    detail: str | None
    prompt: str | None
    priority: int
    timeout_s: int | None
    changed: int
    attempts: list[AttemptAnswer]
    usage: Cumulative
    result: Result | None
    pull_request: PullRequestAnswer | None
    permissions: list[PermissionAsked]
    output: OutputSize
    kept_until: NotRequired[dict[str, str | None]]
    removed: NotRequired[list[Literal["output", "artifacts", "checkpoints"]]]
    as_of: int


class TaskBillAnswer(TypedDict):
    """The cost of one task; `events` are the first 1,000 behind its lines."""

    task: str
    currency: str
    lines: list[TaskBillLine]
    total_nano_usd: int
    events: list[Evidence]
    as_of: int


class TaskBillLine(TypedDict):
    """A task's part of a line of its period. The parts of all tasks sum to the line."""

    meter: str
    unit: str
    quantity: int
    included: int
    unit_price: str | None
    amount_nano_usd: int
    events: int
    model: NotRequired[str | None]
    token: NotRequired[str | None]
    segment: NotRequired[int]
    price_book: str
    period: str


class TaskPage(TypedDict):
    """Newest first. `next` is the cursor of the following page, null on the last."""

    tasks: list[TaskSummary]
    next: str | None
    as_of: int


class TaskSummary(TypedDict):
    """A task in a list. `title` is the first line of the prompt, cut to 120 characters; null once erased.

    `waiting` is null unless the task is submitted, queued, or running and its agent asks for a permission.
    """

    id: str
    state: Literal[
        "submitted",
        "queued",
        "assigned",
        "running",
        "succeeded",
        "failed",
        "cancelled",
        "timed_out",
        "rejected",
    ]
    reason: str | None
    agent: str
    title: str | None
    labels: dict[str, str]
    repo: RepositoryAnswer | None
    attempt: int
    max_attempts: int
    exit_code: int | None
    submitted_by: str
    team: str | None
    submitted_at: str
    started_at: str | None
    finished_at: str | None
    position: int
    waiting: NotRequired[TaskWaiting | None]


class TaskWaiting(TypedDict):
    """Why a task waits. `code` is stable (`permission`: its agent asks for one), `detail` says what it waits for and what helps.

    `place` is its place in the organisation's queue, from 1; null when it is not counted.
    """

    code: str
    detail: str
    place: int | None


class TeamAnswer(TypedDict):
    """`budget_nano_usd` is what the models of its tasks may cost in a month; null where nothing bounds them."""

    id: str
    name: str | None
    members: list[TeamMemberAnswer]
    labels: dict[str, str]
    budget_nano_usd: int | None
    created_at: str


class TeamLabels(TypedDict):
    """Every task of the team bears them. No task of others may bear one of them with this value."""

    labels: dict[str, str]


class TeamList(TypedDict):
    """`TeamList`."""

    teams: list[TeamAnswer]
    as_of: int


class TeamMemberAnswer(TypedDict):
    """`TeamMemberAnswer`."""

    user: str
    name: str | None


class TicketAnswer(TypedDict):
    """`answered`: the last message is the operator's. `title` is null once the organisation is erased."""

    id: str
    title: str | None
    support: Literal["community", "email", "priority"]
    opened_by: str
    opened_at: str
    closed_at: str | None
    answered: bool
    task: str | None
    bundle: str | None


class TicketList(TypedDict):
    """`TicketList`."""

    tickets: list[TicketAnswer]
    as_of: int


class TicketMessageAnswer(TypedDict):
    """`by` is null for the operator."""

    id: str
    by: str | None
    at: str
    text: str | None


class Tier(TypedDict):
    """Units up to and including `up_to`, counted from the first; None for all that follow."""

    up_to: int | str | None
    price: str


class TokenAnswer(TypedDict):
    """RFC 6749, section 5.1. The refresh token is good once: the answer to it has the next one."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    refresh_token: str


class TokenError(TypedDict):
    """RFC 6749, section 5.2."""

    error: str
    error_description: str


class TriggerAnswer(TypedDict):
    """A trigger. The forge posts to `path`."""

    id: str
    forge: Literal["github", "gitea", "gitlab", "bitbucket", "azure"]
    path: str
    created_by: str
    created_at: str
    allow: list[str]
    repositories: list[str]
    command: str | None
    label: str | None
    last_task: str | None


class TriggerList(TypedDict):
    """Triggers of the organisation, the oldest first."""

    triggers: list[TriggerAnswer]


class TriggerRequest(TypedDict):
    """Who may start tasks on which repositories: by a comment that begins with `command`, or by `label`.

    Comments are those on issues and on pull requests.
    """

    forge: NotRequired[Literal["github", "gitea", "gitlab", "bitbucket", "azure"]]
    allow: list[str]
    """Logins on the forge; on Bitbucket nicknames or account ids, on Azure DevOps sign-in addresses."""
    repositories: list[str]
    """`owner/name`; on GitLab with all groups, on Azure DevOps `organisation/project/name`."""
    command: NotRequired[str]
    label: NotRequired[str | None]
    task: TriggerTask


class TriggerTask(TypedDict):
    """What holds for all tasks of a trigger."""

    agent: str
    model: NotRequired[str | None]
    network: NotRequired[str | None]
    budget_nano_usd: NotRequired[int | None]
    timeout_s: NotRequired[int | None]
    pull_request: NotRequired[bool]


class UsageAnswer(TypedDict):
    """What an organisation has used in a period. `model_tokens`: model -> kind -> count.

    `customer_model_nano_usd` is what the organisation's own credential paid for, which is not charged.
    """

    org: str
    plan: str | None
    period: str
    starts_at: str
    ends_at: str
    executions: Executions
    vcpu_ms: int
    gib_ms: int
    egress_bytes: int
    storage_byte_days: int
    model_nano_usd: int
    customer_model_nano_usd: int
    model_tokens: dict[str, dict[str, int]]
    as_of: int


class UsageBreakdown(TypedDict):
    """Days are UTC, `until` included. Repositories and labels are named by their keyed hashes.

    Of a task it is all that it has used, if its last use was on one of these days. `next` is the `after` of the next page of
    tasks, null at the end.
    """

    by: Literal["day", "person", "team", "repository", "label", "model", "agent", "task"]
    since: str
    until: str
    groups: list[UsageGroup]
    next: str | None
    as_of: int


class UsageGroup(TypedDict):
    """`group` is null where the dimension has no value. `quantities`: meter -> quantity in its smallest unit."""

    group: str | None
    quantities: dict[str, int]


class Volume(TypedDict):
    """Every unit at the price of the tier that the whole quantity falls into."""

    meter: Literal[
        "executions",
        "vcpu_ms",
        "gib_ms",
        "egress_bytes",
        "storage_byte_days",
        "model_nano_usd",
        "model_tokens",
    ]
    model: NotRequired[str | None]
    token: NotRequired[str | None]
    tiers: list[Tier]
    kind: NotRequired[Literal["volume"]]


class WebhookAnswer(TypedDict):
    """`url` is null once the organisation's data key is erased. `last` is the outcome of the last settled delivery."""

    id: str
    url: str | None
    format: Literal["standard", "slack"]
    added_at: str
    pending: int
    delivered: int
    failed: int
    last: str | None
    last_at: str | None


class WebhookCreated(TypedDict):
    """`secret` signs every delivery. No other answer shows it. `position` is that of its event."""

    id: str
    url: str
    secret: str
    position: int


class WebhookList(TypedDict):
    """`WebhookList`."""

    webhooks: list[WebhookAnswer]
    as_of: int


class WholeAnyTicket(TypedDict):
    """`WholeAnyTicket`."""

    id: str
    title: str | None
    support: Literal["community", "email", "priority"]
    opened_by: str
    opened_at: str
    closed_at: str | None
    answered: bool
    task: str | None
    bundle: str | None
    org: str
    messages: list[TicketMessageAnswer]
    as_of: int


class WholeTicket(TypedDict):
    """`WholeTicket`."""

    id: str
    title: str | None
    support: Literal["community", "email", "priority"]
    opened_by: str
    opened_at: str
    closed_at: str | None
    answered: bool
    task: str | None
    bundle: str | None
    messages: list[TicketMessageAnswer]
    as_of: int
