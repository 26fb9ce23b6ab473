"""`rclaude billing`: plans, invoices, and the evidence for each of their lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from remote_claude.cli import invoice_check, render
from remote_claude.cli.commands.tasks import Json
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.session import connect

app = typer.Typer(no_args_is_help=True, help="Plans, invoices, and the evidence for them.")

Invoice = Annotated[str, typer.Argument(help="An invoice's number, or its id, inv_...")]


def amount(minor: int, currency: str, digits: int = 2) -> str:
    """An amount in the currency's smallest unit, as people write it."""
    whole, part = divmod(abs(minor), 10**digits)
    fraction = f".{part:0{digits}}" if digits else ""
    return f"{'-' if minor < 0 else ''}{whole:,}{fraction} {currency.upper()}"


@app.command("invoices")
def invoices(as_json: Json = False) -> None:
    """List your invoices."""
    found = connect().get("/v1/invoices")["invoices"]
    if as_json:
        render.emit(found)
        return
    rows = [
        (i["number"], i["period"], amount(i["total"], i["currency"]), i["state"], i["due_at"][:10])
        for i in found
    ]
    render.table(("number", "period", "total", "state", "due"), rows, expendable=("due",))


@app.command("explain")
def explain(
    invoice: Invoice,
    line: Annotated[int | None, typer.Argument(help="A line by its number; all of them if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Show what each line of an invoice was computed from: prices, quantities, events and their positions."""
    client = connect()
    document = client.get(f"/v1/invoices/{invoice}")["document"]
    numbers = [line] if line is not None else [found["line"] for found in document["lines"]]
    explained = [_explained(client, invoice, number) for number in numbers]
    if as_json:
        shown = {name: document[name] for name in ("invoice", "number", "currency", "total", "closed_at")}
        render.emit(shown | {"lines": explained})
        return
    render.say(
        f"{document['number']}, period {document['period']['id']}, log position {document['closed_at']}"
    )
    for found in explained:
        one = found["line"]
        render.say()
        text = amount(one["amount"], document["currency"], document["minor_digits"])
        render.say(f"{one['line']}. {one['description']}: {text}")
        if one["kind"] == "usage":
            price = (
                "in tiers"
                if one["unit_price"] is None
                else f"at {one['unit_price']} nano-{document['currency']}"
            )
            render.say(
                f"   {one['quantity']} {one['unit']}, {one['included']} included, {price} ({one['price_book']})"
            )
        hashes = {link["position"]: link["hash"][:16] for link in found["chain"]}
        rows = [
            (
                str(e["quantity"]),
                e["event_id"],
                str(e["position"]),
                hashes.get(e["position"], "not archived yet"),
            )
            for e in found["events"]
        ]
        if rows:
            render.table(("quantity", "event", "position", "chain"), rows, expendable=("chain", "position"))


def _explained(client: Any, invoice: str, line: int) -> dict[str, Any]:
    """A line with all its events."""
    path = f"/v1/invoices/{invoice}/lines/{line}"
    page = client.get(path, limit=200)
    events, chain, following = page["events"], page["chain"], page["next"]
    while following is not None:
        more = client.get(path, limit=200, after=following)
        events, chain, following = events + more["events"], chain + more["chain"], more["next"]
    return {"line": page["line"], "events": events, "chain": chain}


@app.command("export")
def export(
    invoice: Invoice,
    signed: Annotated[
        bool, typer.Option("--signed", help="With prices and events, signed: for `rclaude billing verify`.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file to write; standard output if left out.")
    ] = None,
) -> None:
    """Write an invoice as JSON; signed, with all that it was computed from, so that it can be checked without us."""
    client = connect()
    found = (
        client.get(f"/v1/invoices/{invoice}/export")
        if signed
        else client.get(f"/v1/invoices/{invoice}")["document"]
    )
    if output is None:
        render.emit(found)
        return
    try:
        output.write_text(json.dumps(found, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise CliError(f"{output} can't be written: {error.strerror}", Exit.FAILED) from error
    render.note(
        f"{output} is written; check it with: rclaude billing verify {output}"
        if signed
        else f"{output} is written"
    )


@app.command("verify")
def verify(
    file: Annotated[
        Path,
        typer.Argument(help="What `rclaude billing export --signed` wrote.", exists=True, dir_okay=False),
    ],
    key: Annotated[
        Path | None,
        typer.Option(help="The seller's public key (PEM), had by another way.", exists=True, dir_okay=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check an exported invoice on this machine alone: signature, hash chain, quantities, prices, total."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        report = invoice_check.check(document, key.read_text() if key is not None else None)
    except (ValueError, KeyError, TypeError) as error:
        raise CliError(f"{file} is no signed export of an invoice: {error!r}", Exit.USAGE) from error
    if as_json:
        render.emit(
            {
                "ok": not report.problems,
                "key": report.fingerprint,
                "problems": report.problems,
                **report.counts,
            }
        )
    else:
        for problem in report.problems:
            render.say(f"WRONG: {problem}")
        counts = report.counts
        render.say(f"{counts['lines']} lines, {counts['events']} events, key {report.fingerprint}")
        if key is None:
            render.say("The key is the one in the file: give --key to check that it is your seller's.")
    if report.problems:
        raise typer.Exit(int(Exit.FAILED))
    if not as_json:
        render.say(f"{document['invoice']['number']} is right: every amount follows from events and prices.")


@app.command("draft")
def draft(
    period: Annotated[str | None, typer.Argument(help="YYYY-MM; the running one if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Show what the invoice of a period would say now."""
    found = connect().get("/v1/billing/draft", period=period)
    if as_json:
        render.emit(found)
        return
    render.say(f"period {found['period']['id']}: {found['state']}")
    shown = [(one["description"], _shown(one["amount"], found)) for one in found["lines"]]
    render.table(("line", "amount"), [*shown, ("total", _shown(found["total"], found))])


def _shown(minor: int, document: dict[str, Any]) -> str:
    return amount(minor, document["currency"], document["minor_digits"])


address = typer.Typer(no_args_is_help=True, help="Who your invoices are made out to.")
app.add_typer(address, name="address")


@address.command("set")
def set_address(
    name: Annotated[str, typer.Option(help="The person or company.")],
    line: Annotated[list[str], typer.Option(help="A line of the address; may be given again.")],
    country: Annotated[str, typer.Option(help="Two letters, as DE: it decides the tax.")],
    vat_id: Annotated[str | None, typer.Option(help="As DE123456789.")] = None,
    email: Annotated[str | None, typer.Option(help="Where invoices are sent.")] = None,
    as_json: Json = False,
) -> None:
    """Make invoices out to this name and address. They are stored sealed."""
    body = {"name": name, "address": line, "country": country.upper(), "vat_id": vat_id, "email": email}
    found = connect().put("/v1/billing/address", body)
    if as_json:
        render.emit(found)
        return
    render.say(f"invoices are made out to {name} from the next one on")


@address.command("show")
def show_address(as_json: Json = False) -> None:
    """Show who your invoices are made out to."""
    found = connect().get("/v1/billing/address")["address"]
    if as_json:
        render.emit(found)
        return
    if found is None:
        render.say("no address is set: rclaude billing address set")
        return
    rows = [
        (name, ", ".join(value) if isinstance(value, list) else value or "-") for name, value in found.items()
    ]
    render.table(("field", "value"), rows)


@app.command("redeem")
def redeem(code: Annotated[str, typer.Argument(help="The coupon's code.")], as_json: Json = False) -> None:
    """Take a coupon off your next invoices."""
    redeemed = connect().post("/v1/billing/coupons", {"code": code})
    if as_json:
        render.emit(redeemed)
        return
    render.say(
        f"the coupon {redeemed['coupon']} is taken off your next invoices: {redeemed['terms']['periods']}"
    )


@app.command("plans")
def plans(as_json: Json = False) -> None:
    """List the plans that you can choose."""
    found = connect().get("/v1/plans")["plans"]
    if as_json:
        render.emit(found)
        return
    rows = []
    for plan in found:
        allows = plan["entitlements"]
        limit = allows["executions_per_month"]
        size = f"{allows['vcpu_millis'] / 1000:g} vCPU, {allows['memory_mib'] / 1024:g} GiB"
        rows.append((plan["plan"], "unlimited" if limit is None else f"{limit:,}", size))
    render.table(("plan", "executions", "sandbox"), rows)


@app.command("upgrade")
def upgrade(
    plan: Annotated[str, typer.Argument(help="The plan, such as pro.")], as_json: Json = False
) -> None:
    """Choose a larger plan: prints the address of a page that takes your card."""
    page = connect().post("/v1/billing/checkout", {"plan": plan})
    if as_json:
        render.emit(page)
        return
    render.say(f"Open this page to leave a card; the plan {plan} holds once you have:\n{page['url']}")


@app.command("plan")
def change(
    plan: Annotated[str, typer.Argument(help="The plan, such as free.")], as_json: Json = False
) -> None:
    """Go to another plan when the period ends. Naming the present one withdraws that."""
    changed = connect().post("/v1/billing/plan", {"plan": plan})
    if as_json:
        render.emit(changed)
        return
    render.say(f"plan {changed['plan']} from {changed['effective_at']} on")


@app.command("portal")
def portal(as_json: Json = False) -> None:
    """Print the address of a page where you can change your card."""
    page = connect().post("/v1/billing/portal", {})
    if as_json:
        render.emit(page)
        return
    render.say(page["url"])
