"""Choosing a plan and paying for it: the plans, Checkout, the customer portal, and Stripe's webhooks."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel

from remote_claude.billing.domain.account import NoAccount, UnknownPlan
from remote_claude.billing.handlers import Accounts
from remote_claude.billing.invoices import Invoices
from remote_claude.billing.stripe_adapter import BadSignature, Stripe, StripeRefused, StripeUnavailable
from remote_claude.contracts.billing import (
    Plan,
)
from remote_claude.contracts.payments import (
    WebhookReceived,
)
from remote_claude.edge.bodies import bounded_body
from remote_claude.edge.caller import Caller
from remote_claude.edge.models import problems
from remote_claude.edge.problems import Problem
from remote_claude.eventsourcing import new_event_id, stream_id, timestamp
from remote_claude.eventsourcing.events import NewEvent
from remote_claude.eventsourcing.log import ConcurrencyConflict
from remote_claude.runtime.ids import derived_id
from remote_claude.runtime.service import Runtime

NAMESPACE = UUID("5f0a3f2e-52b4-5d1e-8f65-1c0c5f9c0b7a")
MAX_WEBHOOK_BYTES = 256 * 1024
TOO_LARGE = Problem(413, "body_too_large", f"A webhook has at most {MAX_WEBHOOK_BYTES} bytes.")
NO_STRIPE = Problem(
    409,
    "payments_not_configured",
    "This installation takes no cards. Ask your operator to change the plan.",
)
UNAVAILABLE = Problem(503, "stripe_unavailable", "Stripe does not answer. Nothing was changed: try again.")


class PlanRequest(BaseModel):
    """The plan to change to."""

    plan: str


class PlanList(BaseModel):
    """The plans that can be chosen."""

    plans: list[Plan]


class Page(BaseModel):
    """The address of a page to open in a browser."""

    url: str


class PlanChange(BaseModel):
    """`effective_at` is when the organisation is on `plan`."""

    plan: str
    effective_at: str


class PlanAssigned(BaseModel):
    """`note` says why no runner can take a task of the plan; null where one can."""

    org: str
    plan: str
    position: int
    note: str | None


class WebhookRecorded(BaseModel):
    """The webhook is on record."""

    received: bool = True


def add_routes(
    api: APIRouter,
    runtime: Runtime,
    accounts: Accounts,
    invoices: Invoices,
    stripe: Stripe | None,
    back: str,
) -> None:
    """The routes `/v1/plans` and those under `/v1/billing`."""
    refusals = problems(401, 403, 404, 409, 422, 503)

    async def chosen(name: str) -> Plan:
        catalog = await accounts.catalog()
        if name not in catalog.plans:
            raise UnknownPlan(name, list(catalog.plans))
        return catalog.plans[name]

    def by_contract(plan: Plan) -> None:
        if not plan.self_service:
            raise Problem(409, "plan_by_contract", f"The plan {plan.plan} is by contract: ask your operator.")

    @api.get("/plans", operation_id="list_plans", responses=problems(503))
    async def list_plans() -> PlanList:
        """The plans that are offered, with what they allow and cost."""
        return PlanList(plans=list((await accounts.catalog()).plans.values()))

    @api.post("/billing/checkout", operation_id="start_checkout", responses=refusals)
    async def start_checkout(body: PlanRequest, principal: Caller) -> Page:
        """Choose a larger plan: a Checkout page takes a card, and the plan holds once it is completed."""
        plan = await chosen(body.plan)
        by_contract(plan)
        if stripe is None:
            raise NO_STRIPE
        account = await invoices.account(principal.org)
        if account.plan == plan.plan:
            raise Problem(409, "plan_unchanged", f"The organisation is on the plan {plan.plan} already.")
        text = f"Plan {plan.plan}: you pay at the end of each period, by invoice, with this card."
        try:
            session = await stripe.checkout(
                principal.org, plan.plan, principal.user, customer=account.stripe_customer, back=back,
                text=text, key=f"checkout-{new_event_id()}",
            )  # fmt: skip
        except (StripeUnavailable, StripeRefused) as error:
            raise UNAVAILABLE from error
        return Page(url=session.page or "")

    @api.post("/billing/portal", operation_id="open_portal", responses=refusals)
    async def open_portal(principal: Caller) -> Page:
        """A page of Stripe's where the card can be changed."""
        account = await invoices.account(principal.org)
        if stripe is None or account.stripe_customer is None:
            raise NO_STRIPE
        try:
            return Page(url=await stripe.portal(account.stripe_customer, back))
        except (StripeUnavailable, StripeRefused) as error:
            raise UNAVAILABLE from error

    @api.post("/billing/plan", operation_id="change_plan", responses=refusals)
    async def change_plan(body: PlanRequest, principal: Caller) -> PlanChange:
        """Go to a plan when the period ends. Naming the present plan withdraws a change."""
        plan = await chosen(body.plan)
        account = await invoices.account(principal.org)
        other = account.plan != plan.plan and plan.plan != "free"
        if other:
            by_contract(plan)
        if other and account.plan is not None and account.stripe_customer is None:
            detail = "A larger plan needs a card: `rclaude billing upgrade` leads to it."
            raise Problem(409, "checkout_needed", detail)
        try:
            await accounts.set_plan(
                principal.org, plan.plan, when="period_end", actor=principal.user, reason="customer"
            )
        except NoAccount as error:
            raise Problem(404, error.code, str(error)) from error
        changed = (await invoices.account(principal.org)).scheduled
        at = changed.effective_at if changed is not None else timestamp(runtime.clock())
        return PlanChange(plan=plan.plan, effective_at=at)

    @api.put(
        "/orgs/{org}/plan",
        operation_id="set_org_plan",
        responses=problems(401, 403, 404, 422, 503),
    )
    async def set_org_plan(org: str, body: PlanRequest, principal: Caller) -> PlanAssigned:
        """For the operator: put any organisation on a plan. It holds from the next admission on."""
        assigned = await accounts.assign_plan(org, body.plan, principal.user)
        return PlanAssigned(org=org, plan=body.plan, position=assigned.position, note=assigned.note)

    @api.post(
        "/billing/webhooks/stripe",
        operation_id="receive_stripe_webhook",
        responses=problems(400, 409, 413, 503),
    )
    async def receive_stripe_webhook(
        request: Request, stripe_signature: Annotated[str, Header()] = ""
    ) -> WebhookRecorded:
        """For Stripe: a signed webhook is recorded and answered; the object it names is fetched afterwards."""
        if stripe is None:
            raise NO_STRIPE
        payload = await bounded_body(request, MAX_WEBHOOK_BYTES, TOO_LARGE)
        try:
            notice = stripe.notice(payload, stripe_signature)
        except BadSignature:
            raise Problem(
                400, "bad_signature", "The webhook is not signed with this endpoint's secret."
            ) from None
        webhook = derived_id("hook", NAMESPACE, "stripe", notice.event)
        event = WebhookReceived(
            webhook=webhook,
            provider_event=notice.event,
            kind=notice.kind,
            object=notice.object,
            api_version=notice.api_version,
            payload_sha256=hashlib.sha256(payload).hexdigest(),
        )
        new = NewEvent(event=event, event_id=new_event_id(), occurred_at=timestamp(runtime.clock()))
        with contextlib.suppress(ConcurrencyConflict):  # it was delivered before
            await runtime.log.append(
                stream_id("billing", None, "webhook", webhook), [new], expected_position=0
            )
        return WebhookRecorded()
