"""`rclaude-admin billing`, `coupon`, `prices` and `models`: closing periods, payments, credits, and the plans on offer.

The commands only; what they do is in `admin_work`, which is imported when one runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from remote_claude.runtime.admin.command_support import CommandRefused, administer

app = typer.Typer(no_args_is_help=True, help="Invoices, payments and credits of organisations.")
prices = typer.Typer(no_args_is_help=True, help="The plans that can be chosen, and their prices.")
coupon = typer.Typer(no_args_is_help=True, help="Coupons, which are taken off invoices.")
models = typer.Typer(no_args_is_help=True, help="What models cost.")

Invoice = Annotated[str, typer.Argument(help="An invoice's number, or its id, inv_...")]
Org = Annotated[str | None, typer.Option(help="Only this organisation.")]
OrgArgument = Annotated[str, typer.Argument(help="The organisation's id, org_...")]
Json = Annotated[bool, typer.Option("--json", help="One line of JSON.")]


def _run(name: str, *arguments: Any) -> None:
    """Do a piece of work of `admin_work` by its name."""
    from remote_claude.billing import admin_work

    administer(lambda runtime: getattr(admin_work, name)(runtime, *arguments), user="billing")


@app.command("close")
def close(
    now: Annotated[
        bool, typer.Option("--now", help="Close the running period too, and skip the grace.")
    ] = False,
    org: Org = None,
) -> None:
    """Close every period that is over, and issue its invoice, for every organisation."""
    _run("close", now, org)


@app.command("new-signing-key")
def new_signing_key() -> None:
    """Make another key that signs exported invoices, in place of one that is lost."""
    import os

    from remote_claude.billing.invoice_signing import SigningKey
    from remote_claude.billing.settings import BillingSettings

    home = Path(os.environ.get("RCLAUDE_HOME") or "~/.rclaude")
    key = SigningKey((BillingSettings.from_environment().signing_key or home / "billing_key").expanduser())
    if key.path.exists():
        raise CommandRefused(f"{key.path} is there: remove it first, if it shall sign no more")
    key.public_path.unlink(missing_ok=True)
    key.make()
    typer.echo(f"{key.path} signs exported invoices from now on; send {key.public_path} to customers")


@app.command("invoices")
def list_invoices(org: Org = None) -> None:
    """List the invoices of every organisation."""
    _run("list_invoices", org)


@app.command("paid")
def paid(
    invoice: Invoice,
    reference: Annotated[str | None, typer.Option(help="The payment's own reference, as a bank's.")] = None,
) -> None:
    """Record that an invoice was paid by hand."""
    _run("paid", invoice, reference)


@app.command("credit-note")
def credit_note(
    invoice: Invoice,
    amount: Annotated[
        str | None, typer.Option(help="In the currency's unit, as 12.50; the whole invoice if left out.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; the credit note says it.")] = "correction",
) -> None:
    """Take an invoice back, or a part of it: less is due, or it is paid back."""
    _run("credit_note", invoice, amount, reason)


@app.command("credit")
def credit(
    org: OrgArgument,
    amount: Annotated[str, typer.Argument(help="In the currency's unit, as 12.50.")],
    reason: Annotated[str, typer.Option(help="Why, in a word or two.")] = "goodwill",
) -> None:
    """Grant a credit that the next invoices take from."""
    _run("credit", org, amount, reason)


@app.command("simulate")
def simulate(
    file: Annotated[
        Path,
        typer.Option(
            "--price-book",
            help="A TOML file of plans, as `prices publish` takes.",
            dir_okay=False,
            exists=True,
        ),
    ],
    last: Annotated[int, typer.Option(min=1, help="How many periods of each organisation.")] = 3,
    as_json: Json = False,
) -> None:
    """Rate the last periods again at the prices of a file, and show the difference for every organisation."""
    _run("simulate", file, last, as_json)


@app.command("margin")
def margin(
    file: Annotated[
        Path, typer.Option("--costs", help="A TOML file of what providers cost.", dir_okay=False, exists=True)
    ],
    last: Annotated[int, typer.Option(min=1, help="How many periods of each organisation.")] = 1,
    as_json: Json = False,
) -> None:
    """Show what is charged beside what it costs you, by organisation and by plan."""
    _run("margin", file, last, as_json)


@app.command("reconcile")
def reconcile() -> None:
    """Compare invoices with Stripe's now, as is done each night. Each difference is recorded once."""
    _run("reconcile")


@app.command("rederive")
def rederive(
    invoice: Annotated[
        str | None, typer.Argument(help="An invoice's number, or its id, inv_...; with --all none.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every invoice, in one reading of the log.")
    ] = False,
) -> None:
    """Make invoices again from the log in an empty database, and compare them with what was issued, byte for byte."""
    if (invoice is None) != everything:
        raise typer.BadParameter("name an invoice, or give --all")
    _run("rederive", invoice)


@prices.command("publish")
def publish(
    file: Annotated[
        Path, typer.Argument(help="A TOML file with catalog, seller and plans.", dir_okay=False, exists=True)
    ],
) -> None:
    """Offer the plans of a file. Accounts keep what they have until their plan is changed."""
    _run("publish", file)


@prices.command("show")
def show() -> None:
    """Show the plans that are offered."""
    _run("show")


@prices.command("tax")
def tax(
    country: Annotated[str, typer.Argument(help="Two letters, as DE.")],
    percent: Annotated[str, typer.Argument(help="The rate, as 19 or 8.875; none takes it away.")],
) -> None:
    """Set the tax on invoices to a country. Periods that are closed from then on have it as a line."""
    _run("tax", country.upper(), percent)


@models.command("publish")
def publish_models(
    file: Annotated[
        Path,
        typer.Argument(
            help="A TOML file with a version and the models that differ.", dir_okay=False, exists=True
        ),
    ],
) -> None:
    """Price the model calls of attempts that begin from now on. What the file leaves out has its list price."""
    _run("publish_models", file)


@models.command("show")
def show_models() -> None:
    """Show what models cost, and which prices are your own."""
    _run("show_models")


@coupon.command("create")
def create_coupon(
    code: Annotated[str, typer.Argument(help="3 to 40 small letters, digits and -.")],
    percent: Annotated[str | None, typer.Option(help="Of each invoice, as 20 or 12.5.")] = None,
    amount: Annotated[str | None, typer.Option(help="In US dollars, as 12.50.")] = None,
    periods: Annotated[int, typer.Option(min=1, help="From how many invoices it is taken.")] = 1,
    redeem_by: Annotated[
        str | None, typer.Option(help="The last day to redeem it, as 2026-12-31 (UTC).")
    ] = None,
    max_redemptions: Annotated[
        int | None, typer.Option(min=1, help="By how many organisations it can be redeemed.")
    ] = None,
) -> None:
    """Create a coupon that organisations can redeem, each once."""
    _run("create_coupon", code, percent, amount, periods, redeem_by, max_redemptions)


@coupon.command("list")
def list_coupons() -> None:
    """List the coupons."""
    _run("list_coupons")


@coupon.command("redeem")
def redeem_coupon(org: OrgArgument, code: Annotated[str, typer.Argument(help="The coupon's code.")]) -> None:
    """Redeem a coupon for an organisation."""
    _run("redeem_coupon", org, code)
