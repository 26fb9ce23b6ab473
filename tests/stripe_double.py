"""A stateful double of Stripe: customers, Checkout sessions that take a card, invoices with items, signed webhooks.

Idempotency is Stripe's: the same key with the same body replays the answer, with another body it is an error. A card
whose number ends in 0002 is declined, and tried again as the clock advances.

Faults on demand: `delivery` says what becomes of a webhook (`once`, `twice`, `drop`, or `hold`, until `release`), `thin` in
which of Stripe's two forms it comes, `unanswered` how many of the next changes are made and answered with 500, `missing` how
many of the next reads find nothing yet. `stripe_examples.json` has Stripe's own example of each object, which gives a new
one the fields that nobody set.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl

import httpx2
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

API_VERSION = "2026-10-28.endive"
SECRET = "whsec_made_up_for_tests"
KEY = "sk_test_made_up"
CREATED = 1_795_000_000
RETRIES_AFTER = (3, 5, 7)
"""Days after which a payment that failed is tried again."""
EXAMPLES: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("stripe_examples.json").read_text())
ASKED_ONLY = ("pending_invoice_items_behavior", "refund_amount")
"""Parameters that no object shows."""
LACKS = {"billing_portal.session": ("metadata",), "invoice": ("subscription",), "invoiceitem": ("created",)}
"""What these objects do not have, and the others have."""


class StripeDouble:
    """Its objects by id; `url` is where it listens, `webhooks` where it sends."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.webhooks: str | None = None
        self.delivery: Literal["once", "twice", "drop", "hold"] = "once"
        self.thin = False
        self.unanswered = self.missing = 0
        self.now = CREATED
        """Its clock, which only `advance` moves."""
        self.url = ""
        self.held: list[bytes] = []
        self._answers: dict[str, tuple[bytes, int, dict[str, Any]]] = {}
        self._ids = itertools.count(1)
        self.app = FastAPI()
        self.app.add_api_route("/{path:path}", self._answer, methods=["GET", "POST"])

    async def _answer(self, path: str, request: Request) -> Response:
        body = await request.body()
        self.calls.append((request.method, f"/{path}"))
        key = request.headers.get("idempotency-key")
        if key is not None and key in self._answers:
            sent, status, answer = self._answers[key]
            if sent != body:
                return _error(400, "idempotency_error", "The key was used with other parameters.")
            return JSONResponse(answer, status, {"Idempotent-Replayed": "true"})
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return _error(401, "invalid_request_error", "No such API key.")
        try:
            answer = self._do(request.method, path.split("/"), _parsed(body.decode()))
        except KeyError as error:
            return _error(404, "invalid_request_error", f"No such object: {error}", "resource_missing")
        if key is not None:
            self._answers[key] = body, 200, json.loads(json.dumps(answer))
        if request.method == "POST" and self.unanswered:
            self.unanswered -= 1
            return _error(500, "api_error", "An unknown error occurred.")
        return JSONResponse(answer)

    def _do(self, method: str, path: list[str], given: dict[str, Any]) -> dict[str, Any]:
        match method, path:
            case "POST", ["v1", "customers"]:
                settings = {"default_payment_method": None}
                return self._new("cus", "customer", given | {"invoice_settings": settings})
            case "POST", ["v1", "customers", id]:
                self.objects[id].update(given)
            case "POST", ["v1", "checkout", "sessions"]:
                session = self._new(
                    "cs", "checkout.session", given | {"status": "open", "setup_intent": None}
                )
                session["url"] = f"{self.url}/pay/{session['id']}"
                return session
            case "GET", ["v1", "checkout", "sessions", id]:
                session = self._found(id)
                intent = self.objects.get(session["setup_intent"] or "")
                return session | {"setup_intent": intent}
            case "POST", ["v1", "billing_portal", "sessions"]:
                return self._new("bps", "billing_portal.session", given | {"url": f"{self.url}/portal"})
            case "POST", ["v1", "invoices"]:
                more = {"status": "draft", "attempt_count": 0, "hosted_invoice_url": None, "total": 0}
                return self._new("in", "invoice", given | more | {"auto_advance": False})
            case "POST", ["v1", "invoiceitems"]:
                invoice = self.objects[given["invoice"]]
                invoice["total"] += int(given["amount"])
                return self._new("ii", "invoiceitem", given | {"amount": int(given["amount"])})
            case "POST", ["v1", "invoices", id, "finalize"]:
                invoice = self.objects[id]
                invoice |= {"status": "open", "hosted_invoice_url": f"{self.url}/invoice/{id}"}
                invoice["auto_advance"] = given.get("auto_advance") == "true"
                answer = dict(invoice)
                self._collect(invoice)
                return answer
            case "POST", ["v1", "credit_notes"]:
                return self._credit(given)
            case "GET", ["v1", _, id]:
                return self._found(id)
            case _:
                raise KeyError("/".join(path))
        return self.objects[path[-1]]

    def _found(self, id: str) -> dict[str, Any]:
        """An object that is read."""
        if self.missing:
            self.missing -= 1
            raise KeyError(id)
        return self.objects[id]

    def _credit(self, given: dict[str, Any]) -> dict[str, Any]:
        """Before the payment it lowers what is due; afterwards all of it has to be paid back."""
        invoice, amount = self.objects[given["invoice"]], int(given["amount"])
        refund = int(given.get("refund_amount", 0))
        kind = "post_payment" if invoice["status"] == "paid" else "pre_payment"
        if refund != (amount if kind == "post_payment" else 0):
            raise KeyError("refund_amount")
        name = f"{kind}_credit_notes_amount"
        invoice[name] = invoice.get(name, 0) + amount
        return self._new("cn", "credit_note", given | {"amount": amount, "status": "issued", "type": kind})

    def _new(self, prefix: str, kind: str, values: dict[str, Any]) -> dict[str, Any]:
        id = f"{prefix}_Test{next(self._ids):04}"
        own = {"id": id, "object": kind, "created": self.now, "livemode": False, "metadata": {}}
        found = EXAMPLES[kind] | own | values
        for name in (*ASKED_ONLY, *LACKS.get(kind, ())):
            found.pop(name, None)
        self.objects[id] = found
        return found

    def complete(self, session_url: str, card: str = "4242424242424242") -> None:
        """What a person does on the Checkout page."""
        session = self.objects[session_url.rpartition("/")[2]]
        method = self._new("pm", "payment_method", {"card": {"last4": card[-4:]}})
        intent = self._new("seti", "setup_intent", {"status": "succeeded", "payment_method": method["id"]})
        session |= {"status": "complete", "setup_intent": intent["id"]}
        self.notify("checkout.session.completed", session)

    def _collect(self, invoice: dict[str, Any]) -> None:
        settings = self.objects[invoice["customer"]]["invoice_settings"]
        method = self.objects.get(settings.get("default_payment_method") or "")
        invoice["attempt_count"] += 1
        invoice["attempted"] = True
        invoice["next_payment_attempt"] = None
        if method is None or method["card"]["last4"] == "0002":
            if invoice["auto_advance"] and invoice["attempt_count"] <= len(RETRIES_AFTER):
                wait = RETRIES_AFTER[invoice["attempt_count"] - 1]
                invoice["next_payment_attempt"] = self.now + wait * 24 * 3600
            self.notify("invoice.payment_failed", invoice)
        else:
            invoice["status"] = "paid"
            self.notify("invoice.paid", invoice)

    def advance(self, days: float) -> None:
        """Let time pass: payments that are due to be tried again are, in their order."""
        end = self.now + int(days * 24 * 3600)

        def due() -> list[dict[str, Any]]:
            invoices = [one for one in self.objects.values() if one["object"] == "invoice"]
            waiting = [one for one in invoices if one["status"] == "open" and one["next_payment_attempt"]]
            return sorted(waiting, key=lambda one: int(one["next_payment_attempt"]))

        while (first := next(iter(due()), None)) and first["next_payment_attempt"] <= end:
            self.now = first["next_payment_attempt"]
            self._collect(first)
        self.now = end

    def notify(self, kind: str, found: dict[str, Any]) -> None:
        """Send a signed webhook, as `delivery` says, in the form that `thin` says."""
        id = f"evt_Test{next(self._ids):04}"
        if self.thin:
            event = {
                "id": id, "object": "v2.core.event", "type": f"v1.{kind}", "livemode": False,
                "created": datetime.fromtimestamp(self.now, UTC).isoformat().replace("+00:00", "Z"),
                "related_object": {
                    "id": found["id"], "type": found["object"], "url": f"/v1/{kind.split('.')[0]}s/{found['id']}",
                },
            }  # fmt: skip
        else:
            own = {"id": id, "type": kind, "created": self.now, "api_version": API_VERSION}
            event = EXAMPLES["event"] | own | {"data": {"object": dict(found)}}
        payload = json.dumps(event).encode()
        if self.delivery == "hold":
            self.held.append(payload)
        for _ in range({"once": 1, "twice": 2}.get(self.delivery, 0)):
            threading.Thread(target=self._send, args=(payload,)).start()

    def release(self, *, newest_first: bool = False) -> None:
        """Deliver what was held, one after the other."""
        held, self.held = self.held, []
        for payload in reversed(held) if newest_first else held:
            self._send(payload)

    def _send(self, payload: bytes) -> None:
        assert self.webhooks is not None
        for _ in range(20):
            try:
                signed = {"Stripe-Signature": signature(payload)}
                if httpx2.post(self.webhooks, content=payload, headers=signed).status_code == 200:
                    return
            except httpx2.HTTPError:
                pass
            time.sleep(0.2)  # as Stripe does, sooner


def signature(payload: bytes, secret: str = SECRET) -> str:
    """The header that Stripe signs a webhook with."""
    now = int(time.time())
    digest = hmac.new(secret.encode(), f"{now}.".encode() + payload, hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


def _error(status: int, kind: str, message: str, code: str | None = None) -> JSONResponse:
    return JSONResponse({"error": {"type": kind, "message": message, "code": code}}, status)


def _parsed(body: str) -> dict[str, Any]:
    """A form whose names have brackets."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(body, keep_blank_values=True):
        *outer, last = name.replace("]", "").split("[")
        place = found
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = value
    return found


@contextmanager
def stripe_double() -> Iterator[StripeDouble]:
    """A double that listens on loopback."""
    double = StripeDouble()
    server = uvicorn.Server(uvicorn.Config(double.app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    double.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield double
    finally:
        server.should_exit = True
        thread.join()
