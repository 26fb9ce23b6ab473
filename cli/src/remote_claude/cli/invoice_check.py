"""Checks a signed export of an invoice, offline, with code that shares nothing with what made the invoice.

What follows from the file alone: its signature; that the invoice has its hash; that each event has its hash in the
chain; that each line is the sum of events, at the prices of an event; that the total is the sum of the lines. Whether
the chain is the one that the installation had is what its signed heads say, which the operator keeps.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any

PURPOSE = b"remote-claude invoice export 1\n"
NANO = 10**9
COMPUTE = ("vcpu_ms", "gib_ms", "egress_bytes")
SHOWN_ONLY = ("model_tokens", "customer_model_tokens", "customer_model_nano_usd")
"""Meters without a line of their own where the prices do not name them."""

Target = tuple[str, str | None, str | None]


@dataclass(frozen=True, slots=True)
class InvoiceReport:
    """What is wrong, nothing if all is well; and how much was checked."""

    fingerprint: str
    problems: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def check(document: dict[str, Any], key: str | None = None) -> InvoiceReport:
    """Check an export; with `key` (PEM) instead of the one in the file. Raises what a file of another kind raises."""
    if document["export"] != "invoice" or document["version"] != 1:
        raise ValueError("another kind or version of export")
    invoice = document["invoice"]
    pem = key or document["public_key"]
    problems = [
        *_signature(document, pem), *_hash(document), *_chain(document), *_evidence(document), *_prices(document),
        *_lines(document),
    ]  # fmt: skip
    if sum(line["amount"] for line in invoice["lines"]) != invoice["total"]:
        problems.append("the total is not the sum of the lines")
    fingerprint = hashlib.sha256("".join(pem.split()).encode()).hexdigest()[:16]
    counts = {"lines": len(invoice["lines"]), "events": len(document["chain"])}
    return InvoiceReport(fingerprint, problems, counts)


def canonical(value: Any) -> bytes:
    """RFC 8785 for what the log stores."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _signature(document: dict[str, Any], pem: str) -> Iterator[str]:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    signed = {name: value for name, value in document.items() if name != "signature"}
    public = load_pem_public_key(pem.encode())
    if not isinstance(public, Ed25519PublicKey):
        raise ValueError("the key is no Ed25519 key")
    try:
        public.verify(bytes.fromhex(document["signature"]), PURPOSE + canonical(signed))
    except InvalidSignature:
        yield "the signature is not that of the key: the file was changed, or it is another seller's"


def _hash(document: dict[str, Any]) -> Iterator[str]:
    found = hashlib.sha256(canonical(document["invoice"])).hexdigest()
    issued = [data for _, type, data in _events(document) if type == "InvoiceIssued"]
    if found != document["json_sha256"] or [e["json_sha256"] for e in issued] != [found]:
        yield "the invoice is not the one that was issued: its hash is another"
    elif issued[0]["total"] != document["invoice"]["total"]:
        yield "the event says another total"


def _events(document: dict[str, Any]) -> Iterator[tuple[int, str, Any]]:
    for link in document["chain"]:
        type = re.search(r"^ce-type: (\w+)\r?$", b64decode(link["headers"]).decode(), re.MULTILINE)
        yield link["position"], type[1] if type else "", json.loads(b64decode(link["data"]))


def _chain(document: dict[str, Any]) -> Iterator[str]:
    before: dict[str, Any] = {}
    for link in document["chain"]:
        subject, headers, data = link["subject"].encode(), b64decode(link["headers"]), b64decode(link["data"])
        content = bytes.fromhex(link["previous"]) + link["position"].to_bytes(8)
        for part in (subject, headers, data):
            content += len(part).to_bytes(4) + part
        if hashlib.sha256(content).hexdigest() != link["hash"]:
            yield f"the event at position {link['position']} does not have its hash in the chain"
        if before.get("position") == link["position"] - 1 and before["hash"] != link["previous"]:
            yield f"the chain is broken before position {link['position']}"
        if before.get("position", 0) >= link["position"]:
            yield f"position {link['position']} is out of order"
        if f".{document['invoice']['customer']['org']}." not in link["subject"]:
            yield f"the event at position {link['position']} is not the customer's"
        before = link


def _evidence(document: dict[str, Any]) -> Iterator[str]:
    """Each quantity names an event of the chain, which measured that much at least."""
    links = {link["position"]: link for link in document["chain"]}
    events = {position: (type, data) for position, type, data in _events(document)}
    for e in document["evidence"]:
        if e["position"] not in links:
            yield f"{e['event_id']} counts and is not among the events"
            continue
        headers = b64decode(links[e["position"]]["headers"]).decode()
        type, data = events[e["position"]]
        if f"ce-id: {e['event_id']}\r\n" not in headers or data.get("task", "") != e["task"]:
            yield f"the event at position {e['position']} is not {e['event_id']} of {e['task']}"
        elif e["meter"] == "executions":
            if type not in ("TaskStarted", "AttemptFinished"):
                yield f"{e['event_id']} starts no task"
        elif type != "RunnerLost" and int(e["quantity"]) > _measured(data, e):
            yield f"{e['event_id']} counts {e['quantity']} of {e['meter']}, and measured less"
    started = Counter(e["task"] for e in document["evidence"] if e["meter"] == "executions")
    yield from (f"{task} counts as {n} executions" for task, n in started.items() if n > 1)


def _measured(data: dict[str, Any], e: dict[str, Any]) -> int:
    """What an attempt had used by the sample in an event, calls that were under way included; or what was stored on a day."""
    if e["meter"] == "storage_byte_days":
        return int(data.get("size", 0))
    sample = data if "cumulative" in data else data.get("usage")
    if sample is None:
        return 0
    used, under_way = sample["cumulative"], sample["open_calls"]
    if e["meter"] in COMPUTE:
        return int(used[e["meter"]])
    payer = "customer" if e["meter"].startswith("customer_") else "operator"
    calls = [call for call in under_way if call["sent"]["paid_by"] == payer]
    if e["meter"].endswith("_nano_usd"):
        return int(used[e["meter"]]) + sum(int(call["nano_usd"]) for call in calls)
    uses = [use for use in used["model_use"] if use["paid_by"] == payer] + [call["sent"] for call in calls]
    return sum(int(use["quantities"].get(e["token"], 0)) for use in uses if use["model"] == e["model"])


def _prices(document: dict[str, Any]) -> Iterator[str]:
    """Each segment's prices are those of an event, and its share is its part of the period."""
    published = [
        data["price_book"] for _, type, data in _events(document) if type in ("PeriodOpened", "PlanChanged")
    ]
    period = document["invoice"]["period"]
    opens, closes = map(datetime.fromisoformat, (period["starts_at"], period["ends_at"]))
    for s in document["segments"]:
        if s["price_book"] not in published:
            yield f"no event has the prices {s['price_book']['version']} of segment {s['segment']}"
        start, end = map(datetime.fromisoformat, (s["starts_at"], s["ends_at"]))
        tick = datetime.resolution
        if Fraction(s["share"]) != Fraction((end - start) // tick, (closes - opens) // tick):
            yield f"segment {s['segment']} is not {s['share']} of the period"


def _lines(document: dict[str, Any]) -> Iterator[str]:
    """Each line is the sum of its events at its prices, and each event is on a line."""
    invoice = document["invoice"]
    unit = NANO // 10 ** invoice["minor_digits"]
    segments = {s["segment"]: s for s in document["segments"]}
    usage = [line for line in invoice["lines"] if line["kind"] == "usage"]
    sums = _sums(document, usage)
    metered: Counter[int] = Counter()
    for line in usage:
        s = segments[line["segment"]]
        components, share = s["price_book"]["components"], Fraction(s["share"])
        number, meter = line["line"], line["meter"]
        if meter == "subscription":
            exact = sum(Fraction(c["amount"]) for c in components if c["kind"] == "flat") * share
        elif meter == "minimum":
            least = sum(Fraction(c["amount"]) for c in components if c["kind"] == "minimum") * share
            exact = least - metered[line["segment"]]
        else:
            target = (meter, line["model"], line["token"])
            quantity = sums.pop((line["segment"], target), 0)
            if quantity != int(line["quantity"]):
                yield f"line {number} bills {line['quantity']} of {meter}, and its events come to {quantity}"
            included, exact = _rated(int(line["quantity"]), target, components, share)
            if included != int(line["included"]):
                yield f"line {number} includes {line['included']} of {meter}, and its prices include {included}"
            metered[line["segment"]] += exact  # type: ignore[assignment]  # exact fractions are summed too
        if round(exact / unit) != line["amount"]:
            yield f"line {number} bills {line['amount']}, and its prices come to {round(exact / unit)}"
    for (segment, target), quantity in sums.items():
        if quantity and target[0] not in SHOWN_ONLY:
            yield f"{quantity} of {target[0]} in segment {segment} are on no line"


def _sums(document: dict[str, Any], lines: list[Any]) -> Counter[tuple[int, Target]]:
    """What the events come to, by segment and by the narrowest line that takes them."""
    targets = {(line["segment"], (line["meter"], line["model"], line["token"])) for line in lines}
    sums: Counter[tuple[int, Target]] = Counter()
    for e in document["evidence"]:
        meter, model, token = e["meter"], e["model"], e["token"]
        narrowing = [(meter, model, token), (meter, model, None), (meter, None, token), (meter, None, None)]
        found = next((t for t in narrowing if (e["segment"], t) in targets), narrowing[-1])
        sums[e["segment"], found] += int(e["quantity"])
    return sums


def _rated(quantity: int, target: Target, components: list[Any], share: Fraction) -> tuple[int, Fraction]:
    """(included, exact billionths) of a quantity at these prices."""
    mine = [c for c in components if (c.get("meter"), c.get("model"), c.get("token")) == target]
    included, exact = 0, Fraction(0)
    for c in mine:
        if c["kind"] == "allowance":
            free = quantity if c["quantity"] is None else round(int(c["quantity"]) * share)
            included = max(0, min(quantity, free))
    charged = quantity - included
    for c in mine:
        if c["kind"] == "per_unit":
            exact = charged * Fraction(c["price"])
        elif c["kind"] == "volume":
            tier = next(t for t in c["tiers"] if t["up_to"] is None or charged <= int(t["up_to"]))
            exact = charged * Fraction(tier["price"])
        elif c["kind"] == "graduated":
            below = 0
            for tier in c["tiers"]:
                upper = charged if tier["up_to"] is None else min(charged, int(tier["up_to"]))
                exact += max(0, upper - below) * Fraction(tier["price"])
                below = max(below, upper)
    return included, exact
