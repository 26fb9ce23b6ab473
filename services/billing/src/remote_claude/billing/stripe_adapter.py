"""Stripe, in one place: Checkout for a means of payment, the customer portal, and invoices that it collects.

The numbers are ours: Stripe gets the lines of an invoice that is issued, and says when it is paid. Calls that create
something carry an idempotency key that follows from its cause, so that a repetition creates nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

API_VERSION = "2026-10-28.endive"
THIN = "v2.core.event"
"""What a thin webhook is an object of."""
MISSING = "resource_missing"
"""Stripe's code for an object that it does not have, or not yet."""


class BadSignature(Exception):
    """The webhook was not signed with this endpoint's secret."""


class StripeUnavailable(Exception):
    """Stripe does not answer, or not now: the same call may work later."""


class StripeRefused(Exception):
    """Stripe refuses the call, for a stable reason; it will not work later either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """An object as Stripe has it now. `org`, `plan`, `invoice` and `actor` are ours, from its metadata."""

    kind: str
    object: str
    status: str
    org: str | None
    customer: str | None = None
    plan: str | None = None
    invoice: str | None = None
    actor: str | None = None
    attempt: int | None = None
    amount: int | None = None
    page: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """The content of a webhook: its own id, what happened, and to which object."""

    event: str
    kind: str
    object: str
    api_version: str | None


class Stripe:
    """The client of one Stripe account. Its calls run in threads."""

    def __init__(self, key: str, webhook_secret: str | None, base: str | None = None) -> None:
        import stripe  # half a second that only those who take cards need

        self._stripe = stripe
        addresses: Any = {"api": base} if base is not None else {}
        self._client = stripe.StripeClient(
            key, stripe_version=API_VERSION, base_addresses=addresses, max_network_retries=2
        )
        self._webhook_secret = webhook_secret

    def notice(self, payload: bytes, signature: str) -> Notice:
        """The content of a webhook whose signature over the raw bytes is valid. Raises `BadSignature`.

        Stripe sends either form, as the endpoint was set up: a snapshot has the object, a thin one its id. The object is
        fetched in any case.
        """
        try:
            self._stripe.WebhookSignature.verify_header(payload, signature, self._webhook_secret)
            event = json.loads(payload)
            if event["object"] == THIN:
                kind, object = event["type"].removeprefix("v1."), event["related_object"]["id"]
                return Notice(event=event["id"], kind=kind, object=object, api_version=None)
            object = event["data"]["object"]["id"]
            return Notice(
                event=event["id"], kind=event["type"], object=object, api_version=event["api_version"]
            )
        except (self._stripe.SignatureVerificationError, ValueError, LookupError, TypeError) as error:
            raise BadSignature from error

    async def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """Call Stripe in a thread. Raises `StripeUnavailable`, `StripeRefused`."""
        try:
            return await asyncio.to_thread(method, *arguments)
        except self._stripe.InvalidRequestError as error:
            raise StripeRefused(error.code or "refused") from error
        except self._stripe.StripeError as error:  # a wrong key too: the operator can put it right
            raise StripeUnavailable(str(error)) from error

    async def checkout(
        self, org: str, plan: str, actor: str, *, customer: str | None, back: str, text: str, key: str
    ) -> Observed:
        """A Checkout page where the organisation leaves a means of payment for a plan."""
        if customer is None:
            made = await self._call(
                self._client.v1.customers.create,
                {"metadata": {"org": org}},
                {"idempotency_key": f"customer-{org}"},
            )
            customer = made.id
        metadata = {"org": org, "plan": plan, "actor": actor}
        session = await self._call(
            self._client.v1.checkout.sessions.create,
            {
                "mode": "setup",
                "currency": "usd",
                "customer": customer,
                "client_reference_id": org,
                "metadata": metadata,
                "success_url": f"{back}?checkout=done",
                "cancel_url": f"{back}?checkout=cancelled",
                "custom_text": {"submit": {"message": text}},
            },
            {"idempotency_key": key},
        )
        return _session(session)

    async def portal(self, customer: str, back: str) -> str:
        """The address of a page where the customer changes the means of payment and sees invoices."""
        session = await self._call(
            self._client.v1.billing_portal.sessions.create, {"customer": customer, "return_url": back}
        )
        return str(session.url)

    async def fetch(self, object: str) -> Observed | None:
        """An object as it is now; None for one of a kind that is of no concern."""
        match object.partition("_")[0]:
            case "cs":
                return await self._fetch_session(object)
            case "in":
                return _invoice(await self._call(self._client.v1.invoices.retrieve, object))
        return None

    async def _fetch_session(self, object: str) -> Observed:
        session = await self._call(
            self._client.v1.checkout.sessions.retrieve, object, {"expand": ["setup_intent"]}
        )
        found = _session(session)
        intent: Any = session.setup_intent
        if found.status == "complete" and found.customer is not None and intent is not None:
            method = intent["payment_method"]
            await self._call(
                self._client.v1.customers.update,
                found.customer,
                {"invoice_settings": {"default_payment_method": str(method)}},
            )
        return found

    async def mirror(self, contents: Mapping[str, Any], customer: str, key: str) -> Observed:
        """Our invoice as one of Stripe's, with our lines, to be collected by the means of payment on file."""
        org = contents["customer"]["org"]
        metadata = {"org": org, "invoice": contents["invoice"], "number": contents["number"]}
        invoices = self._client.v1.invoices
        made = await self._call(
            invoices.create,
            {
                "customer": customer,
                "currency": contents["currency"],
                "collection_method": "charge_automatically",
                "auto_advance": False,
                "pending_invoice_items_behavior": "exclude",
                "description": f"{contents['number']}, {contents['period']['id']}",
                "metadata": metadata,
            },
            {"idempotency_key": f"{key}-invoice"},
        )
        if made.status == "draft":
            for line in contents["lines"]:
                if line["amount"] == 0:
                    continue
                await self._call(
                    self._client.v1.invoice_items.create,
                    {
                        "customer": customer,
                        "invoice": made.id,
                        "currency": contents["currency"],
                        "amount": line["amount"],
                        "description": line["description"],
                        "metadata": {"line": str(line["line"])},
                    },
                    {"idempotency_key": f"{key}-line-{line['line']}"},
                )
            made = await self._call(
                invoices.finalize_invoice,
                made.id,
                {"auto_advance": True},
                {"idempotency_key": f"{key}-finalize"},
            )
        return _invoice(made)

    async def credit_note(
        self, invoice: str, amount: int, number: str, *, refund: bool, key: str
    ) -> Observed:
        """Take a part of an invoice back, in the currency's smallest unit; `refund` pays it back."""
        params: dict[str, Any] = {"invoice": invoice, "amount": amount, "memo": number}
        if refund:
            params["refund_amount"] = amount
        made = await self._call(
            self._client.v1.credit_notes.create, params, {"idempotency_key": f"{key}-credit-note"}
        )
        return Observed(kind="credit_note", object=made.id, status=made.status, org=None, amount=made.amount)


def _metadata(found: Any) -> dict[str, str]:
    return dict(found.metadata.to_dict()) if found.metadata is not None else {}


def _session(session: Any) -> Observed:
    ours = _metadata(session)
    return Observed(
        kind="checkout.session", object=session.id, status=session.status, org=ours.get("org"),
        customer=session.customer, plan=ours.get("plan"), actor=ours.get("actor"), page=session.url,
    )  # fmt: skip


def _invoice(invoice: Any) -> Observed:
    ours = _metadata(invoice)
    return Observed(
        kind="invoice", object=invoice.id, status=invoice.status, org=ours.get("org"),
        customer=invoice.customer, invoice=ours.get("invoice"), attempt=invoice.attempt_count,
        amount=invoice.total, page=invoice.hosted_invoice_url,
    )  # fmt: skip
