"""Who may do what: operation x scope x role, in one table that every service reads.

An operation is the `operationId` of a route. `docs/reference/permissions.md` is generated from here, and a test fails
for a route that is not in the table.
"""

from __future__ import annotations

from dataclasses import dataclass

from remote_claude.contracts.users import Role

EVERYBODY: frozenset[Role] = frozenset({"owner", "admin", "member", "billing"})
MEMBERS: frozenset[Role] = frozenset({"owner", "admin", "member"})
PAYERS: frozenset[Role] = frozenset({"owner", "admin", "billing"})
ADMINS: frozenset[Role] = frozenset({"owner", "admin"})
OWNERS: frozenset[Role] = frozenset({"owner"})


@dataclass(frozen=True, slots=True)
class Permission:
    """What an operation needs: a scope of the credential, and one of the roles in the organisation."""

    scope: str
    roles: frozenset[Role] = EVERYBODY


PERMISSIONS: dict[str, Permission] = {
    # gateway
    "submit_task": Permission("tasks", MEMBERS),
    "list_tasks": Permission("tasks:read", MEMBERS),
    "get_task": Permission("tasks:read", MEMBERS),
    "list_agents": Permission("tasks:read", MEMBERS),
    "list_task_events": Permission("tasks:read", MEMBERS),
    "get_task_output": Permission("tasks:read", MEMBERS),
    "get_task_bundle": Permission("tasks:read", MEMBERS),
    "get_task_checkpoint": Permission("tasks:read", MEMBERS),
    "get_task_diff": Permission("tasks:read", MEMBERS),
    "get_task_artifacts": Permission("tasks:read", MEMBERS),
    "cancel_task": Permission("tasks", MEMBERS),
    "request_pull_request": Permission("tasks", MEMBERS),
    "send_message": Permission("tasks", MEMBERS),
    "answer_permission": Permission("tasks", MEMBERS),
    "share_task": Permission("tasks", MEMBERS),
    "list_task_shares": Permission("tasks:read", MEMBERS),
    "remove_task_share": Permission("tasks", MEMBERS),
    "open_shell": Permission("tasks", MEMBERS),
    "open_port": Permission("tasks", MEMBERS),
    "join_runner": Permission("runners", ADMINS),
    "list_runners": Permission("runners", ADMINS),
    "list_repositories": Permission("tasks:read", MEMBERS),
    "submit_batch": Permission("tasks", MEMBERS),
    "list_batches": Permission("tasks:read", MEMBERS),
    "get_batch": Permission("tasks:read", MEMBERS),
    "cancel_batch": Permission("tasks", MEMBERS),
    "list_schedules": Permission("tasks:read", MEMBERS),
    "create_schedule": Permission("tasks", MEMBERS),
    "remove_schedule": Permission("tasks", MEMBERS),
    "list_triggers": Permission("tasks:read", MEMBERS),
    "create_trigger": Permission("tasks", MEMBERS),
    "remove_trigger": Permission("tasks", MEMBERS),
    "head_blob": Permission("tasks:read", MEMBERS),
    "put_blob": Permission("tasks", MEMBERS),
    "stream_tasks": Permission("tasks:read", MEMBERS),
    "create_webhook": Permission("org", ADMINS),
    "list_webhooks": Permission("org:read", ADMINS),
    "remove_webhook": Permission("org", ADMINS),
    "replay_webhook_delivery": Permission("org", ADMINS),
    "list_webhook_deliveries": Permission("org:read", ADMINS),
    # billing
    "get_usage": Permission("billing", EVERYBODY),
    "get_bill": Permission("billing", PAYERS),
    "get_bill_events": Permission("billing", PAYERS),
    "get_task_bill": Permission("billing", EVERYBODY),
    "get_batch_bill": Permission("billing", EVERYBODY),
    "get_month": Permission("billing", EVERYBODY),
    "get_usage_breakdown": Permission("billing", EVERYBODY),
    "list_invoices": Permission("billing", PAYERS),
    "get_invoice": Permission("billing", PAYERS),
    "get_invoice_pdf": Permission("billing", PAYERS),
    "explain_invoice_line": Permission("billing", PAYERS),
    "export_invoice": Permission("billing", PAYERS),
    "set_billing_address": Permission("billing", PAYERS),
    "get_billing_address": Permission("billing", PAYERS),
    "redeem_coupon": Permission("billing", PAYERS),
    "get_invoice_draft": Permission("billing", PAYERS),
    "start_checkout": Permission("billing", PAYERS),
    "open_portal": Permission("billing", PAYERS),
    "change_plan": Permission("billing", PAYERS),
    "set_org_plan": Permission("operations", EVERYBODY),
    "list_accounts": Permission("operations", EVERYBODY),
    "simulate_prices": Permission("operations", EVERYBODY),
    "publish_prices": Permission("operations", EVERYBODY),
    "get_conservation": Permission("operations", EVERYBODY),
    # auth
    "create_key": Permission("org", MEMBERS),
    "list_keys": Permission("org:read", MEMBERS),
    "revoke_key": Permission("org", MEMBERS),
    "create_sign_in_link": Permission("operations", EVERYBODY),
    # users
    "list_all_orgs": Permission("operations", EVERYBODY),
    "suspend_org": Permission("operations", EVERYBODY),
    "resume_org": Permission("operations", EVERYBODY),
    "list_all_tickets": Permission("operations", EVERYBODY),
    "get_any_ticket": Permission("operations", EVERYBODY),
    "get_ticket_bundle": Permission("operations", EVERYBODY),
    "answer_any_ticket": Permission("operations", EVERYBODY),
    "close_any_ticket": Permission("operations", EVERYBODY),
    "rename_org": Permission("org", ADMINS),
    "delete_org": Permission("org", OWNERS),
    "list_members": Permission("org:read", EVERYBODY),
    "invite_member": Permission("org", ADMINS),
    "send_invitation_again": Permission("org", ADMINS),
    "revoke_invitation": Permission("org", ADMINS),
    "change_role": Permission("org", ADMINS),
    "remove_member": Permission("org", ADMINS),
    "connect_forge": Permission("org", ADMINS),
    "disconnect_forge": Permission("org", ADMINS),
    "connect_own_forge": Permission("org", MEMBERS),
    "disconnect_own_forge": Permission("org", MEMBERS),
    "create_signing_key": Permission("org", ADMINS),
    "get_signing_key": Permission("org:read", MEMBERS),
    "remove_signing_key": Permission("org", ADMINS),
    "list_secrets": Permission("org:read", MEMBERS),
    "set_secret": Permission("org", MEMBERS),
    "set_org_secret": Permission("org", ADMINS),
    "remove_secret": Permission("org", MEMBERS),
    "remove_org_secret": Permission("org", ADMINS),
    "list_models": Permission("org:read", MEMBERS),
    "add_model": Permission("org", MEMBERS),
    "add_org_model": Permission("org", ADMINS),
    "remove_model": Permission("org", MEMBERS),
    "remove_org_model": Permission("org", ADMINS),
    "use_model": Permission("org", MEMBERS),
    "use_org_model": Permission("org", ADMINS),
    "get_policy": Permission("org:read", MEMBERS),
    "set_policy": Permission("org", ADMINS),
    "set_org_budget": Permission("org", ADMINS),
    "set_member_budget": Permission("org", ADMINS),
    "list_audit": Permission("org:read", ADMINS),
    "transfer_org": Permission("org", OWNERS),
    "list_service_accounts": Permission("org:read", MEMBERS),
    "create_service_account": Permission("org", ADMINS),
    "remove_service_account": Permission("org", ADMINS),
    "list_teams": Permission("org:read", EVERYBODY),
    "create_team": Permission("org", ADMINS),
    "delete_team": Permission("org", ADMINS),
    "add_team_member": Permission("org", ADMINS),
    "remove_team_member": Permission("org", ADMINS),
    "set_team_labels": Permission("org", ADMINS),
    "set_team_budget": Permission("org", ADMINS),
    "leave_org": Permission("org", EVERYBODY),
    "open_ticket": Permission("org", EVERYBODY),
    "list_tickets": Permission("org:read", EVERYBODY),
    "get_ticket": Permission("org:read", EVERYBODY),
    "answer_ticket": Permission("org", EVERYBODY),
    "close_ticket": Permission("org", EVERYBODY),
    # every process
    "status": Permission("operations", EVERYBODY),
    "list_parked": Permission("operations", EVERYBODY),
    "retry_parked": Permission("operations", EVERYBODY),
}

PERSONAL: dict[str, str | None] = {
    "get_session": None,
    "end_session": None,
    "link_identity": "account",
    "list_sessions": "account",
    "revoke_session": "account",
    "get_me": None,
    "change_profile": "account",
    "delete_account": "account",
    "list_identities": "account",
    "unlink_identity": "account",
    "list_orgs": None,
    "create_org": "account",
    "restore_org": "account",
    "accept_invitation": "account",
}
"""Operations of a person, in no organisation, and the scope that each needs; None: any good credential will do."""

PUBLIC: frozenset[str] = frozenset(
    {
        "follow_sign_in_link",
        "list_providers",
        "sign_in_page",
        "begin_sign_in",
        "finish_sign_in",
        "oauth_metadata",
        "get_signing_keys",
        "ask_authorization",  # these five pages look for the session by themselves, and lead to the sign-in
        "grant_authorization",
        "ask_device",
        "confirm_device",
        "confirm_identity",
        "begin_device",
        "issue_token",
        "list_plans",
        "receive_stripe_webhook",  # by its signature
        "receive_forge_event",  # by its signature
        "get_shared_task",  # by the link's secret
        "get_shared_output",
        "get_shared_diff",
        "connect_worker",  # by the single-use token of its sandbox
    }
)
"""Operations that need no credential."""
