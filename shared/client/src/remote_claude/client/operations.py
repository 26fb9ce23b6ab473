"""Every operation of the API as a `Call`, generated from its OpenAPI document: `make client`."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import quote

from remote_claude.client.calls import Call, Content, as_bytes, as_json, nothing
from remote_claude.client.models import (
    AcceptedInvitation,
    AccountPage,
    AgentList,
    AnsweredPermission,
    AnyTicketList,
    AuditPage,
    BatchBillAnswer,
    BatchDetails,
    BatchPage,
    BeginDeviceForm,
    BillAnswer,
    BillEventPage,
    BillingAddress,
    BillingAddressAnswer,
    BlobAnswer,
    CancelAnswer,
    CancelledBatch,
    ConservationAnswer,
    CouponCode,
    CreatedShare,
    CreatedTrigger,
    DeliveryPage,
    EventPage,
    Explanation,
    ForgeCredential,
    IdentityList,
    InstalledOrgPage,
    InvitationCreated,
    InvoiceAnswer,
    InvoiceDraft,
    InvoiceExport,
    InvoiceList,
    IssueTokenForm,
    JoinedRunners,
    KeyCreated,
    KeyList,
    KeySetAnswer,
    LinkAnswer,
    MemberList,
    MessageAnswer,
    MessageRequest,
    MetadataAnswer,
    ModelChoice,
    ModelList,
    MonthBudget,
    NewBudget,
    NewInvitation,
    NewKey,
    NewMessage,
    NewModel,
    NewOrg,
    NewOwner,
    NewRole,
    NewSecret,
    NewTeam,
    NewTicket,
    NewToken,
    NewWebhook,
    OrgChanged,
    OrgList,
    OutputPage,
    Page,
    ParkedList,
    PermissionAnswerRequest,
    PersonAnswer,
    PlanAssigned,
    PlanChange,
    PlanList,
    PlanRequest,
    PolicyAnswer,
    PolicyRules,
    PriceFile,
    ProviderList,
    PublishedPrices,
    PullRequestRequestAnswer,
    RedeemedCoupon,
    ReplayAnswer,
    ReplayRequest,
    RepositoryList,
    RetryAnswer,
    RetryRequest,
    ScheduleAnswer,
    ScheduleList,
    ScheduleRequest,
    SecretChanged,
    SecretList,
    ServiceAccountList,
    SessionAnswer,
    SessionList,
    SharedTask,
    ShareList,
    ShareRequest,
    SigningKeyAnswer,
    Simulation,
    SimulationRequest,
    SubmitAnswer,
    SubmitRequest,
    SubmittedBatch,
    Suspension,
    TaskAnswer,
    TaskBillAnswer,
    TaskPage,
    TeamLabels,
    TeamList,
    TicketList,
    TokenAnswer,
    TriggerList,
    TriggerRequest,
    UsageAnswer,
    UsageBreakdown,
    WebhookCreated,
    WebhookList,
    WholeAnyTicket,
    WholeTicket,
)


def _part(text: object) -> str:
    return quote(str(text), safe="")


def accept_invitation(body: AcceptedInvitation) -> Call[OrgChanged]:
    """Join the organisation of an invitation, as the caller."""
    return Call("POST", "/v1/invitations/accept", json=body, decode=as_json)


def add_model(name: str, body: NewModel) -> Call[SecretChanged]:
    """Store a model credential for one's own tasks, once the model's service has taken it. The first one is used."""
    return Call("PUT", f"/v1/me/models/{_part(name)}", json=body, decode=as_json)


def add_org_model(name: str, body: NewModel) -> Call[SecretChanged]:
    """Store a model credential for the organisation, once the model's service has taken it. The first one is used."""
    return Call("PUT", f"/v1/org/models/{_part(name)}", json=body, decode=as_json)


def add_team_member(team: str, user: str) -> Call[OrgChanged]:
    """Add a member of the organisation to a team."""
    return Call("PUT", f"/v1/org/teams/{_part(team)}/members/{_part(user)}", decode=as_json)


def answer_any_ticket(ticket: str, body: NewMessage) -> Call[OrgChanged]:
    """Answer a ticket as the operator; who opened it gets the answer by mail too."""
    return Call("POST", f"/v1/support/tickets/{_part(ticket)}/messages", json=body, decode=as_json)


def answer_permission(request: str, task: str, body: PermissionAnswerRequest) -> Call[AnsweredPermission]:
    """Answer what the agent of a task asks. The first answer counts; the same one again changes nothing."""
    return Call("POST", f"/v1/tasks/{_part(task)}/permissions/{_part(request)}", json=body, decode=as_json)


def answer_ticket(ticket: str, body: NewMessage) -> Call[OrgChanged]:
    """Add a message to a ticket that is open."""
    return Call("POST", f"/v1/org/tickets/{_part(ticket)}/messages", json=body, decode=as_json)


def begin_device(body: BeginDeviceForm) -> Call[dict[str, Any]]:
    """Begin the sign-in of a machine without a browser."""
    return Call("POST", "/oauth/device_authorization", form=body, decode=as_json)


def cancel_batch(batch: str) -> Call[CancelledBatch]:
    """End what runs of a batch, and submit no more of it. Asking again changes nothing."""
    return Call("POST", f"/v1/batches/{_part(batch)}/cancel", decode=as_json)


def cancel_task(task: str) -> Call[CancelAnswer]:
    """Ask for a task's end. Asking again changes nothing."""
    return Call("POST", f"/v1/tasks/{_part(task)}/cancel", repeatable=True, decode=as_json)


def change_plan(body: PlanRequest) -> Call[PlanChange]:
    """Go to a plan when the period ends. Naming the present plan withdraws a change."""
    return Call("POST", "/v1/billing/plan", json=body, decode=as_json)


def change_profile(body: NewOrg) -> Call[OrgChanged]:
    """Give the caller another name."""
    return Call("PATCH", "/v1/me", json=body, decode=as_json)


def change_role(user: str, body: NewRole) -> Call[OrgChanged]:
    """Give a member another role."""
    return Call("PUT", f"/v1/org/members/{_part(user)}/role", json=body, decode=as_json)


def close_any_ticket(ticket: str) -> Call[OrgChanged]:
    """Close a ticket as the operator: it takes no more messages."""
    return Call("POST", f"/v1/support/tickets/{_part(ticket)}/close", decode=as_json)


def close_ticket(ticket: str) -> Call[OrgChanged]:
    """Close a ticket: it takes no more messages."""
    return Call("POST", f"/v1/org/tickets/{_part(ticket)}/close", decode=as_json)


def connect_forge(forge: str, body: ForgeCredential) -> Call[SecretChanged]:
    """Store the organisation's token or App for a forge, sealed. A later one replaces it; none is ever answered."""
    return Call("PUT", f"/v1/org/forges/{_part(forge)}", json=body, decode=as_json)


def connect_own_forge(forge: str, body: NewToken) -> Call[SecretChanged]:
    """Store a token of one's own for a forge: the forge then checks one's access for one's own tasks."""
    return Call("PUT", f"/v1/me/forges/{_part(forge)}", json=body, decode=as_json)


def create_key(body: NewKey) -> Call[KeyCreated]:
    """Make an API key for the organisation, of the caller, a service account or a team. It is shown once."""
    return Call("POST", "/v1/keys", json=body, decode=as_json)


def create_org(body: NewOrg) -> Call[OrgChanged]:
    """Create an organisation; the caller is its owner."""
    return Call("POST", "/v1/orgs", json=body, decode=as_json)


def create_schedule(body: ScheduleRequest) -> Call[ScheduleAnswer]:
    """Submit a task at the times of a cron expression, as the caller."""
    return Call("POST", "/v1/schedules", json=body, decode=as_json)


def create_service_account(body: NewOrg) -> Call[OrgChanged]:
    """Create an account for machines. API keys can be made for it, and stay when the people leave."""
    return Call("POST", "/v1/org/service-accounts", json=body, decode=as_json)


def create_sign_in_link() -> Call[LinkAnswer]:
    """A link that signs a browser in as the person behind this credential, once."""
    return Call("POST", "/v1/session/links", decode=as_json)


def create_signing_key() -> Call[SigningKeyAnswer]:
    """Make a key (ed25519) that signs the commits of the organisation's tasks when they are pushed. It replaces an earlier one."""
    return Call("POST", "/v1/org/signing-key", decode=as_json)


def create_team(body: NewTeam) -> Call[OrgChanged]:
    """Create a team. Nobody is in it yet."""
    return Call("POST", "/v1/org/teams", json=body, decode=as_json)


def create_trigger(body: TriggerRequest) -> Call[CreatedTrigger]:
    """Let comments and labels on a forge start tasks, as the caller."""
    return Call("POST", "/v1/triggers", json=body, decode=as_json)


def create_webhook(body: NewWebhook) -> Call[WebhookCreated]:
    """Add a webhook. It gets a request for each task of the organisation that ends from now on."""
    return Call("POST", "/v1/webhooks", json=body, decode=as_json)


def delete_account() -> Call[None]:
    """Erase the caller, with their personal organisation. Nobody can bring them back."""
    return Call("DELETE", "/v1/me", decode=nothing)


def delete_org() -> Call[OrgChanged]:
    """Delete the organisation. Nobody acts for it from here on; an owner can bring it back for thirty days."""
    return Call("DELETE", "/v1/org", decode=as_json)


def delete_team(team: str) -> Call[None]:
    """Delete a team; its API keys are refused from here on. Its tasks stay."""
    return Call("DELETE", f"/v1/org/teams/{_part(team)}", decode=nothing)


def disconnect_forge(forge: str) -> Call[None]:
    """Remove the organisation's token for a forge."""
    return Call("DELETE", f"/v1/org/forges/{_part(forge)}", decode=nothing)


def disconnect_own_forge(forge: str) -> Call[None]:
    """Remove one's own token for a forge."""
    return Call("DELETE", f"/v1/me/forges/{_part(forge)}", decode=nothing)


def end_session() -> Call[None]:
    """Sign out: the session is refused everywhere from here on."""
    return Call("DELETE", "/v1/session", decode=nothing)


def explain_invoice_line(
    invoice: str,
    line: int,
    *,
    after: int | None = None,
    limit: int | None = None,
    min_position: int | None = None,
) -> Call[Explanation]:
    """What a line of an invoice is derived from: its prices, quantities, and the events with their positions."""
    return Call(
        "GET",
        f"/v1/invoices/{_part(invoice)}/lines/{_part(line)}",
        query={"after": after, "limit": limit, "min_position": min_position},
        decode=as_json,
    )


def export_invoice(invoice: str, *, min_position: int | None = None) -> Call[InvoiceExport]:
    """An invoice with its prices and events, signed: `rclaude billing verify` checks it without us."""
    return Call(
        "GET", f"/v1/invoices/{_part(invoice)}/export", query={"min_position": min_position}, decode=as_json
    )


def get_any_ticket(ticket: str, *, min_position: int | None = None) -> Call[WholeAnyTicket]:
    """A ticket of any organisation with its messages, in their order."""
    return Call(
        "GET", f"/v1/support/tickets/{_part(ticket)}", query={"min_position": min_position}, decode=as_json
    )


def get_batch(batch: str, *, min_position: int | None = None) -> Call[BatchDetails]:
    """A batch with the state of each item. Its cost is at `/v1/batches/{batch}/bill`."""
    return Call("GET", f"/v1/batches/{_part(batch)}", query={"min_position": min_position}, decode=as_json)


def get_batch_bill(batch: str, *, min_position: int | None = None) -> Call[BatchBillAnswer]:
    """What the tasks of a batch cost so far. Empty for one of which none has run."""
    return Call(
        "GET", f"/v1/batches/{_part(batch)}/bill", query={"min_position": min_position}, decode=as_json
    )


def get_bill(*, period: str | None = None, min_position: int | None = None) -> Call[BillAnswer]:
    """The current bill of a period: its lines, each with the number of its events."""
    return Call("GET", "/v1/bill", query={"period": period, "min_position": min_position}, decode=as_json)


def get_bill_events(
    *,
    meter: Literal[
        "executions",
        "vcpu_ms",
        "gib_ms",
        "egress_bytes",
        "storage_byte_days",
        "model_nano_usd",
        "model_tokens",
    ],
    period: str | None = None,
    after: int | None = None,
    limit: int | None = None,
    min_position: int | None = None,
) -> Call[BillEventPage]:
    """The events that the lines of a meter are the sum of, in log order."""
    return Call(
        "GET",
        "/v1/bill/events",
        query={
            "meter": meter,
            "period": period,
            "after": after,
            "limit": limit,
            "min_position": min_position,
        },
        decode=as_json,
    )


def get_billing_address() -> Call[BillingAddressAnswer]:
    """Who invoices are made out to."""
    return Call("GET", "/v1/billing/address", decode=as_json)


def get_conservation(*, min_position: int | None = None) -> Call[ConservationAnswer]:
    """Whether all that was metered this month is charged, included in a plan, or written off. It reads the whole month."""
    return Call("GET", "/v1/billing/conservation", query={"min_position": min_position}, decode=as_json)


def get_invoice(invoice: str, *, min_position: int | None = None) -> Call[InvoiceAnswer]:
    """An invoice, by its id or its number."""
    return Call("GET", f"/v1/invoices/{_part(invoice)}", query={"min_position": min_position}, decode=as_json)


def get_invoice_draft(*, period: str | None = None, min_position: int | None = None) -> Call[InvoiceDraft]:
    """A draft of a period's invoice, as of now. `state`: `draft`, `grace` until it is closed, `final`."""
    return Call(
        "GET", "/v1/billing/draft", query={"period": period, "min_position": min_position}, decode=as_json
    )


def get_invoice_pdf(invoice: str, *, min_position: int | None = None) -> Call[bytes]:
    """The PDF of an invoice."""
    return Call(
        "GET", f"/v1/invoices/{_part(invoice)}/pdf", query={"min_position": min_position}, decode=as_bytes
    )


def get_me(*, min_position: int | None = None) -> Call[PersonAnswer]:
    """The caller: a person, a service account or a team."""
    return Call("GET", "/v1/me", query={"min_position": min_position}, decode=as_json)


def get_month(*, min_position: int | None = None) -> Call[MonthBudget]:
    """What models have cost this month, of the organisation, the caller and their team, against their budgets."""
    return Call("GET", "/v1/usage/budget", query={"min_position": min_position}, decode=as_json)


def get_policy() -> Call[PolicyAnswer]:
    """What the organisation allows the tasks of its members."""
    return Call("GET", "/v1/org/policy", decode=as_json)


def get_session() -> Call[SessionAnswer]:
    """Who is asking, and for which organisation: the one that the request names, if they are in it."""
    return Call("GET", "/v1/session", decode=as_json)


def get_shared_diff(share: str, *, rclaude_share: str | None = None) -> Call[bytes]:
    """The result as a patch."""
    return Call(
        "GET", f"/v1/shared/{_part(share)}/diff", headers={"Rclaude-Share": rclaude_share}, decode=as_bytes
    )


def get_shared_output(
    share: str, *, after: str | None = None, limit: int | None = None, rclaude_share: str | None = None
) -> Call[OutputPage]:
    """The frames of all attempts after a cursor, in order; also while the task runs."""
    return Call(
        "GET",
        f"/v1/shared/{_part(share)}/output",
        query={"after": after, "limit": limit},
        headers={"Rclaude-Share": rclaude_share},
        decode=as_json,
    )


def get_shared_task(share: str, *, rclaude_share: str | None = None) -> Call[SharedTask]:
    """The task of a link."""
    return Call("GET", f"/v1/shared/{_part(share)}", headers={"Rclaude-Share": rclaude_share}, decode=as_json)


def get_signing_key() -> Call[SigningKeyAnswer]:
    """The public key that verifies the commits of the organisation's tasks."""
    return Call("GET", "/v1/org/signing-key", decode=as_json)


def get_signing_keys() -> Call[KeySetAnswer]:
    """The public keys that verify access tokens."""
    return Call("GET", "/.well-known/jwks.json", decode=as_json)


def get_task(
    task: str, *, wait: int | None = None, changed: int | None = None, min_position: int | None = None
) -> Call[TaskAnswer]:
    """A task, as far as it is; with `wait` once it has ended, and with `changed` once it has changed."""
    return Call(
        "GET",
        f"/v1/tasks/{_part(task)}",
        query={"wait": wait, "changed": changed, "min_position": min_position},
        decode=as_json,
    )


def get_task_artifacts(task: str, *, min_position: int | None = None) -> Call[bytes]:
    """The files that the agent left in `$RCLAUDE_ARTIFACTS`, as a tar archive."""
    return Call(
        "GET", f"/v1/tasks/{_part(task)}/artifacts", query={"min_position": min_position}, decode=as_bytes
    )


def get_task_bill(task: str, *, min_position: int | None = None) -> Call[TaskBillAnswer]:
    """A task's part of the bills of its periods, with the events behind it. Empty for one that never ran."""
    return Call("GET", f"/v1/tasks/{_part(task)}/bill", query={"min_position": min_position}, decode=as_json)


def get_task_bundle(task: str, *, min_position: int | None = None) -> Call[bytes]:
    """The result as a Git bundle: the branch of the task."""
    return Call(
        "GET", f"/v1/tasks/{_part(task)}/bundle", query={"min_position": min_position}, decode=as_bytes
    )


def get_task_checkpoint(task: str, *, min_position: int | None = None) -> Call[bytes]:
    """The last checkpoint of a task, as a tar archive: the agent's conversation, and what it had changed."""
    return Call(
        "GET", f"/v1/tasks/{_part(task)}/checkpoint", query={"min_position": min_position}, decode=as_bytes
    )


def get_task_diff(task: str, *, min_position: int | None = None) -> Call[bytes]:
    """The result as a patch."""
    return Call("GET", f"/v1/tasks/{_part(task)}/diff", query={"min_position": min_position}, decode=as_bytes)


def get_task_output(
    task: str, *, after: str | None = None, limit: int | None = None, min_position: int | None = None
) -> Call[OutputPage]:
    """The frames of all attempts after a cursor, in order; also while the task runs."""
    return Call(
        "GET",
        f"/v1/tasks/{_part(task)}/output",
        query={"after": after, "limit": limit, "min_position": min_position},
        decode=as_json,
    )


def get_ticket(ticket: str, *, min_position: int | None = None) -> Call[WholeTicket]:
    """A ticket with its messages, in their order."""
    return Call(
        "GET", f"/v1/org/tickets/{_part(ticket)}", query={"min_position": min_position}, decode=as_json
    )


def get_ticket_bundle(ticket: str, *, min_position: int | None = None) -> Call[bytes]:
    """The diagnostics that came with a ticket."""
    return Call(
        "GET",
        f"/v1/support/tickets/{_part(ticket)}/bundle",
        query={"min_position": min_position},
        decode=as_bytes,
    )


def get_usage(*, period: str | None = None, min_position: int | None = None) -> Call[UsageAnswer]:
    """What the organisation has used in a period, against what its plan allows."""
    return Call("GET", "/v1/usage", query={"period": period, "min_position": min_position}, decode=as_json)


def get_usage_breakdown(
    dimension: Literal["day", "person", "team", "repository", "label", "model", "agent", "task"],
    *,
    last: int | None = None,
    limit: int | None = None,
    after: str | None = None,
    min_position: int | None = None,
) -> Call[UsageBreakdown]:
    """What the organisation has used in the last days, by one dimension, the largest model use first."""
    return Call(
        "GET",
        f"/v1/usage/by/{_part(dimension)}",
        query={"last": last, "limit": limit, "after": after, "min_position": min_position},
        decode=as_json,
    )


def head_blob(sha256: str) -> Call[None]:
    """Whether the organisation has this upload already: 200, or 404."""
    return Call("HEAD", f"/v1/blobs/{_part(sha256)}", decode=nothing)


def invite_member(body: NewInvitation) -> Call[InvitationCreated]:
    """Invite a person, by a link that works once, for seven days. It is mailed if a mail server is set up."""
    return Call("POST", "/v1/org/invitations", json=body, decode=as_json)


def issue_token(body: IssueTokenForm) -> Call[TokenAnswer]:
    """Exchange a code, a device code, a refresh token or a GitHub token for an access token."""
    return Call("POST", "/oauth/token", form=body, decode=as_json)


def leave_org() -> Call[OrgChanged]:
    """Leave the organisation."""
    return Call("POST", "/v1/org/leave", decode=as_json)


def list_accounts(
    *, after: str | None = None, limit: int | None = None, min_position: int | None = None
) -> Call[AccountPage]:
    """Plan and executions of every organisation, for the operator."""
    return Call(
        "GET",
        "/v1/billing/accounts",
        query={"after": after, "limit": limit, "min_position": min_position},
        decode=as_json,
    )


def list_agents() -> Call[AgentList]:
    """What a task may ask for: agents, and what the runners that are there now offer."""
    return Call("GET", "/v1/agents", decode=as_json)


def list_all_orgs(
    *, after: str | None = None, limit: int | None = None, min_position: int | None = None
) -> Call[InstalledOrgPage]:
    """Every organisation of the installation, for its operator."""
    return Call(
        "GET",
        "/v1/orgs/all",
        query={"after": after, "limit": limit, "min_position": min_position},
        decode=as_json,
    )


def list_all_tickets(
    *, closed: bool | None = None, limit: int | None = None, min_position: int | None = None
) -> Call[AnyTicketList]:
    """Tickets of every organisation: open ones in the order in which to answer them."""
    return Call(
        "GET",
        "/v1/support/tickets",
        query={"closed": closed, "limit": limit, "min_position": min_position},
        decode=as_json,
    )


def list_audit(
    *, limit: int | None = None, before: int | None = None, min_position: int | None = None
) -> Call[AuditPage]:
    """Who did what in the organisation, from where, and when; the latest first."""
    return Call(
        "GET",
        "/v1/org/audit",
        query={"limit": limit, "before": before, "min_position": min_position},
        decode=as_json,
    )


def list_batches(
    *, limit: int | None = None, cursor: str | None = None, min_position: int | None = None
) -> Call[BatchPage]:
    """The organisation's batches, newest first."""
    return Call(
        "GET",
        "/v1/batches",
        query={"limit": limit, "cursor": cursor, "min_position": min_position},
        decode=as_json,
    )


def list_identities(*, min_position: int | None = None) -> Call[IdentityList]:
    """The accounts at sign-in providers that sign the caller in."""
    return Call("GET", "/v1/identities", query={"min_position": min_position}, decode=as_json)


def list_invoices(*, min_position: int | None = None) -> Call[InvoiceList]:
    """The invoices of the organisation."""
    return Call("GET", "/v1/invoices", query={"min_position": min_position}, decode=as_json)


def list_keys(*, min_position: int | None = None) -> Call[KeyList]:
    """The keys of the organisation for its owners and admins; for others their own and those of their teams."""
    return Call("GET", "/v1/keys", query={"min_position": min_position}, decode=as_json)


def list_members(*, min_position: int | None = None) -> Call[MemberList]:
    """The members of the organisation, and its open invitations."""
    return Call("GET", "/v1/org/members", query={"min_position": min_position}, decode=as_json)


def list_models() -> Call[ModelList]:
    """The model credentials of the caller, and the organisation's."""
    return Call("GET", "/v1/org/models", decode=as_json)


def list_orgs(*, min_position: int | None = None) -> Call[OrgList]:
    """The organisations of the caller. An API key sees its own; one with the scope `operations` sees all of its person's."""
    return Call("GET", "/v1/orgs", query={"min_position": min_position}, decode=as_json)


def list_parked() -> Call[ParkedList]:
    """What the views of this process could not fold."""
    return Call("GET", "/v1/status/parked", decode=as_json)


def list_plans() -> Call[PlanList]:
    """The plans that are offered, with what they allow and cost."""
    return Call("GET", "/v1/plans", decode=as_json)


def list_providers() -> Call[ProviderList]:
    """Where people may sign in."""
    return Call("GET", "/v1/sign-in/providers", decode=as_json)


def list_repositories(*, forge: str, search: str | None = None) -> Call[RepositoryList]:
    """The repositories that the caller's own token for a forge can see, without one those of the organisation's."""
    return Call("GET", "/v1/repositories", query={"forge": forge, "search": search}, decode=as_json)


def list_runners() -> Call[JoinedRunners]:
    """The organisation's own machines that have joined this service as runners."""
    return Call("GET", "/v1/runners", decode=as_json)


def list_schedules() -> Call[ScheduleList]:
    """The organisation's schedules."""
    return Call("GET", "/v1/schedules", decode=as_json)


def list_secrets() -> Call[SecretList]:
    """The secrets that tasks of the caller can use: their own, and the organisation's."""
    return Call("GET", "/v1/org/secrets", decode=as_json)


def list_service_accounts(*, min_position: int | None = None) -> Call[ServiceAccountList]:
    """The service accounts of the organisation."""
    return Call("GET", "/v1/org/service-accounts", query={"min_position": min_position}, decode=as_json)


def list_sessions(*, min_position: int | None = None) -> Call[SessionList]:
    """The open sessions of the caller."""
    return Call("GET", "/v1/sessions", query={"min_position": min_position}, decode=as_json)


def list_task_events(
    task: str, *, after: int | None = None, limit: int | None = None, min_position: int | None = None
) -> Call[EventPage]:
    """Everything that was said of a task, by every service, in log order."""
    return Call(
        "GET",
        f"/v1/tasks/{_part(task)}/events",
        query={"after": after, "limit": limit, "min_position": min_position},
        decode=as_json,
    )


def list_task_shares(task: str) -> Call[ShareList]:
    """The links of a task."""
    return Call("GET", f"/v1/tasks/{_part(task)}/shares", decode=as_json)


def list_tasks(
    *,
    state: list[
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
    ]
    | None = None,
    agent: str | None = None,
    submitted_by: str | None = None,
    team: str | None = None,
    label: list[str] | None = None,
    q: str | None = None,
    pull_request: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    min_position: int | None = None,
) -> Call[TaskPage]:
    """The organisation's tasks that the caller may see, newest first."""
    return Call(
        "GET",
        "/v1/tasks",
        query={
            "state": state,
            "agent": agent,
            "submitted_by": submitted_by,
            "team": team,
            "label": label,
            "q": q,
            "pull_request": pull_request,
            "limit": limit,
            "cursor": cursor,
            "min_position": min_position,
        },
        decode=as_json,
    )


def list_teams(*, min_position: int | None = None) -> Call[TeamList]:
    """The teams of the organisation, the oldest first, with who is in each."""
    return Call("GET", "/v1/org/teams", query={"min_position": min_position}, decode=as_json)


def list_tickets(*, limit: int | None = None, min_position: int | None = None) -> Call[TicketList]:
    """The tickets of the organisation, the latest first; of a member, their own."""
    return Call(
        "GET", "/v1/org/tickets", query={"limit": limit, "min_position": min_position}, decode=as_json
    )


def list_triggers() -> Call[TriggerList]:
    """The organisation's triggers."""
    return Call("GET", "/v1/triggers", decode=as_json)


def list_webhook_deliveries(
    webhook: str, *, before: int | None = None, limit: int | None = None, min_position: int | None = None
) -> Call[DeliveryPage]:
    """What was delivered to a webhook, what failed, and what is pending, newest first."""
    return Call(
        "GET",
        f"/v1/webhooks/{_part(webhook)}/deliveries",
        query={"before": before, "limit": limit, "min_position": min_position},
        decode=as_json,
    )


def list_webhooks(*, min_position: int | None = None) -> Call[WebhookList]:
    """The webhooks of the organisation, in the order in which they were added."""
    return Call("GET", "/v1/webhooks", query={"min_position": min_position}, decode=as_json)


def oauth_metadata() -> Call[MetadataAnswer]:
    """RFC 8414: what this authorization server offers."""
    return Call("GET", "/.well-known/oauth-authorization-server", decode=as_json)


def open_portal() -> Call[Page]:
    """A page of Stripe's where the card can be changed."""
    return Call("POST", "/v1/billing/portal", decode=as_json)


def open_ticket(body: NewTicket) -> Call[OrgChanged]:
    """Ask the operator for support. The plan says whether there are tickets, and which are answered first."""
    return Call("POST", "/v1/org/tickets", json=body, decode=as_json)


def publish_prices(body: PriceFile) -> Call[PublishedPrices]:
    """Offer the plans of a file from now on. Accounts keep what they have until their plan is changed."""
    return Call("PUT", "/v1/billing/prices", json=body, decode=as_json)


def put_blob(sha256: str, body: Content) -> Call[BlobAnswer]:
    """Upload a file. It is kept only when its content has this SHA-256."""
    return Call("PUT", f"/v1/blobs/{_part(sha256)}", content=body, decode=as_json)


def redeem_coupon(body: CouponCode) -> Call[RedeemedCoupon]:
    """Take a coupon off the next invoices. An organisation redeems a coupon once; again changes nothing."""
    return Call("POST", "/v1/billing/coupons", json=body, decode=as_json)


def remove_member(user: str) -> Call[OrgChanged]:
    """Remove a member; its API keys of the organisation are refused from here on."""
    return Call("DELETE", f"/v1/org/members/{_part(user)}", decode=as_json)


def remove_model(name: str) -> Call[None]:
    """Remove one's own model credential."""
    return Call("DELETE", f"/v1/me/models/{_part(name)}", decode=nothing)


def remove_org_model(name: str) -> Call[None]:
    """Remove a model credential of the organisation."""
    return Call("DELETE", f"/v1/org/models/{_part(name)}", decode=nothing)


def remove_org_secret(name: str) -> Call[None]:
    """Remove a secret of the organisation: tasks that start from here on do not get it."""
    return Call("DELETE", f"/v1/org/secrets/{_part(name)}", decode=nothing)


def remove_schedule(schedule: str) -> Call[None]:
    """Remove a schedule. Tasks that it has started go on."""
    return Call("DELETE", f"/v1/schedules/{_part(schedule)}", decode=nothing)


def remove_secret(name: str) -> Call[None]:
    """Remove one's own secret: tasks that start from here on do not get it."""
    return Call("DELETE", f"/v1/me/secrets/{_part(name)}", decode=nothing)


def remove_service_account(service_account: str) -> Call[None]:
    """Remove a service account; its API keys are refused from here on."""
    return Call("DELETE", f"/v1/org/service-accounts/{_part(service_account)}", decode=nothing)


def remove_signing_key() -> Call[None]:
    """Sign no more commits."""
    return Call("DELETE", "/v1/org/signing-key", decode=nothing)


def remove_task_share(share: str, task: str) -> Call[None]:
    """Revoke a link: it opens nothing from now on."""
    return Call("DELETE", f"/v1/tasks/{_part(task)}/shares/{_part(share)}", decode=nothing)


def remove_team_member(team: str, user: str) -> Call[OrgChanged]:
    """Remove a member from a team. They stay in the organisation."""
    return Call("DELETE", f"/v1/org/teams/{_part(team)}/members/{_part(user)}", decode=as_json)


def remove_trigger(trigger: str) -> Call[None]:
    """Remove a trigger. Tasks that it has started go on."""
    return Call("DELETE", f"/v1/triggers/{_part(trigger)}", decode=nothing)


def remove_webhook(webhook: str) -> Call[None]:
    """Remove a webhook. Deliveries that are still pending are dropped."""
    return Call("DELETE", f"/v1/webhooks/{_part(webhook)}", decode=nothing)


def rename_org(body: NewOrg) -> Call[OrgChanged]:
    """Give the organisation another name."""
    return Call("PATCH", "/v1/org", json=body, decode=as_json)


def replay_webhook_delivery(webhook: str, body: ReplayRequest) -> Call[ReplayAnswer]:
    """Post the end of a task to a webhook once more, under a `webhook-id` of its own."""
    return Call("POST", f"/v1/webhooks/{_part(webhook)}/deliveries", json=body, decode=as_json)


def request_pull_request(task: str) -> Call[PullRequestRequestAnswer]:
    """Open the pull request of a task that has succeeded, or try again. One that is open is answered as it is."""
    return Call("POST", f"/v1/tasks/{_part(task)}/pull-request", decode=as_json)


def restore_org(org: str) -> Call[OrgChanged]:
    """Bring a deleted organisation back."""
    return Call("POST", f"/v1/orgs/{_part(org)}/restore", decode=as_json)


def resume_org(org: str) -> Call[OrgChanged]:
    """End a suspension."""
    return Call("DELETE", f"/v1/orgs/{_part(org)}/suspension", decode=as_json)


def retry_parked(body: RetryRequest) -> Call[RetryAnswer]:
    """Fold what is parked in a view again, in log order. What still can't be folded stays parked."""
    return Call("POST", "/v1/status/parked/retry", json=body, decode=as_json)


def revoke_invitation(invitation: str) -> Call[None]:
    """Revoke an invitation: its link stops working."""
    return Call("DELETE", f"/v1/org/invitations/{_part(invitation)}", decode=nothing)


def revoke_key(key: str) -> Call[None]:
    """Refuse a key from here on, everywhere, on open connections too."""
    return Call("DELETE", f"/v1/keys/{_part(key)}", decode=nothing)


def revoke_session(session: str) -> Call[None]:
    """End a session of the caller, everywhere."""
    return Call("DELETE", f"/v1/sessions/{_part(session)}", decode=nothing)


def send_invitation_again(invitation: str) -> Call[InvitationCreated]:
    """Send an invitation again, with a new link and seven more days. The earlier link stops working."""
    return Call("POST", f"/v1/org/invitations/{_part(invitation)}/send", decode=as_json)


def send_message(task: str, body: MessageRequest) -> Call[MessageAnswer]:
    """Send a message to a task that has not ended. Its agent takes it after the current turn."""
    return Call("POST", f"/v1/tasks/{_part(task)}/messages", json=body, decode=as_json)


def set_billing_address(body: BillingAddress) -> Call[BillingAddressAnswer]:
    """Make invoices out to this name and address from the next closing on. It is stored sealed."""
    return Call("PUT", "/v1/billing/address", json=body, decode=as_json)


def set_member_budget(user: str, body: NewBudget) -> Call[OrgChanged]:
    """Set what the models of one member's tasks may cost in a month."""
    return Call("PUT", f"/v1/org/members/{_part(user)}/budget", json=body, decode=as_json)


def set_org_budget(body: NewBudget) -> Call[OrgChanged]:
    """Set what the models of all tasks may cost in a month."""
    return Call("PUT", "/v1/org/budget", json=body, decode=as_json)


def set_org_plan(org: str, body: PlanRequest) -> Call[PlanAssigned]:
    """For the operator: put any organisation on a plan. It holds from the next admission on."""
    return Call("PUT", f"/v1/orgs/{_part(org)}/plan", json=body, decode=as_json)


def set_org_secret(name: str, body: NewSecret) -> Call[SecretChanged]:
    """Store a secret for the tasks of the organisation, sealed. A later one replaces it."""
    return Call("PUT", f"/v1/org/secrets/{_part(name)}", json=body, decode=as_json)


def set_policy(body: PolicyRules) -> Call[OrgChanged]:
    """Set what tasks may use from here on; it replaces the policy before it. Tasks that run go on."""
    return Call("PUT", "/v1/org/policy", json=body, decode=as_json)


def set_secret(name: str, body: NewSecret) -> Call[SecretChanged]:
    """Store a secret for one's own tasks, sealed. A later one replaces it."""
    return Call("PUT", f"/v1/me/secrets/{_part(name)}", json=body, decode=as_json)


def set_team_budget(team: str, body: NewBudget) -> Call[OrgChanged]:
    """Set what the models of one team's tasks may cost in a month."""
    return Call("PUT", f"/v1/org/teams/{_part(team)}/budget", json=body, decode=as_json)


def set_team_labels(team: str, body: TeamLabels) -> Call[OrgChanged]:
    """Set the labels of a team's tasks, in place of those before. A label belongs to one team at most."""
    return Call("PUT", f"/v1/org/teams/{_part(team)}/labels", json=body, decode=as_json)


def share_task(task: str, body: ShareRequest) -> Call[CreatedShare]:
    """Make a link with which anyone may read this task: its conversation, its output and its patch."""
    return Call("POST", f"/v1/tasks/{_part(task)}/shares", json=body, decode=as_json)


def simulate_prices(body: SimulationRequest, *, min_position: int | None = None) -> Call[Simulation]:
    """Rate the last periods of every organisation at the prices of a file. Nothing is published."""
    return Call(
        "POST", "/v1/billing/simulation", query={"min_position": min_position}, json=body, decode=as_json
    )


def start_checkout(body: PlanRequest) -> Call[Page]:
    """Choose a larger plan: a Checkout page takes a card, and the plan holds once it is completed."""
    return Call("POST", "/v1/billing/checkout", json=body, decode=as_json)


def status() -> Call[dict[str, Any]]:
    """What runs in this process, how far its views are, and what it can do."""
    return Call("GET", "/v1/status", decode=as_json)


def submit_batch(body: dict[str, Any], *, idempotency_key: str | None = None) -> Call[SubmittedBatch]:
    """Submit many tasks in one request. They start by themselves, at most `max_parallel` at a time."""
    return Call(
        "POST", "/v1/batches", headers={"Idempotency-Key": idempotency_key}, json=body, decode=as_json
    )


def submit_task(
    body: SubmitRequest, *, wait: int | None = None, idempotency_key: str | None = None
) -> Call[SubmitAnswer]:
    """Submit a task. The same `Idempotency-Key` with the same body gets the same answer, whenever it is sent.

    With `wait` the answer is the task at its end: one request, however long the task takes up to a minute.
    """
    return Call(
        "POST",
        "/v1/tasks",
        query={"wait": wait},
        headers={"Idempotency-Key": idempotency_key},
        json=body,
        decode=as_json,
    )


def suspend_org(org: str, body: Suspension) -> Call[OrgChanged]:
    """Admit no further task of an organisation. What is queued or runs goes on; people can sign in, read and pay."""
    return Call("PUT", f"/v1/orgs/{_part(org)}/suspension", json=body, decode=as_json)


def transfer_org(body: NewOwner) -> Call[OrgChanged]:
    """Make another member the owner, and the calling owner an admin."""
    return Call("POST", "/v1/org/transfer", json=body, decode=as_json)


def unlink_identity(account: str, *, min_position: int | None = None) -> Call[None]:
    """Unlink an account: the caller can no longer sign in with it."""
    return Call(
        "DELETE", f"/v1/identities/{_part(account)}", query={"min_position": min_position}, decode=nothing
    )


def use_model(body: ModelChoice) -> Call[SecretChanged]:
    """Choose the credential of one's own tasks. Without one of their own, they use the organisation's."""
    return Call("PUT", "/v1/me/model", json=body, decode=as_json)


def use_org_model(body: ModelChoice) -> Call[SecretChanged]:
    """Choose the credential of the organisation's tasks. Without one, they use the operator's."""
    return Call("PUT", "/v1/org/model", json=body, decode=as_json)
