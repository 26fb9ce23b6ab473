"""The composition root of billing."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

from remote_claude.billing import api, mails
from remote_claude.billing.consumers import AccountOpener, PeriodCloser
from remote_claude.billing.exports import Exports
from remote_claude.billing.handlers import Accounts
from remote_claude.billing.invoice_issuing import InvoiceIssuer
from remote_claude.billing.invoice_signing import SigningKey, make_unless_lost
from remote_claude.billing.invoices import Invoices
from remote_claude.billing.metrics import Audit
from remote_claude.billing.month_answers import Months
from remote_claude.billing.projections.issued import InvoicesView
from remote_claude.billing.projections.mail import MailView
from remote_claude.billing.projections.payments import PaymentsView
from remote_claude.billing.projections.usage import UsageView
from remote_claude.billing.settings import BillingSettings
from remote_claude.billing.storage import STORAGE_POLL_S, Storage
from remote_claude.billing.stripe_adapter import Stripe
from remote_claude.billing.stripe_worker import Payments, outbox
from remote_claude.billing.watch import (
    DUNNING_EVERY_S,
    QUOTAS_EVERY_S,
    RECONCILE_EVERY_S,
    BillingWatch,
    every,
)
from remote_claude.contracts.billing import Entitlements
from remote_claude.contracts.requests import ASK_MONTH
from remote_claude.runtime import owner
from remote_claude.runtime.broker.request_handlers import answer_requests
from remote_claude.runtime.service import Runtime, Service


def build(runtime: Runtime) -> Service:
    """Wire billing to what its process shares."""
    settings = BillingSettings.from_environment()
    accounts = Accounts(runtime.log, runtime.clock, upgrade_url=settings.upgrade_url)
    invoices = Invoices(runtime.log, runtime.pool, runtime.objects, runtime.clock, runtime.keyring)
    key = SigningKey((settings.signing_key or runtime.settings.home / "billing_key").expanduser())
    exports = Exports(runtime.log, runtime.pool, runtime.clock, invoices, key)
    mail_server = settings.smtp_url.get_secret_value() if settings.smtp_url is not None else ""
    outboxes = [mails.outbox(mails.Mails(invoices, mail_server, settings.mail_from))]
    watch = BillingWatch(
        runtime.pool,
        runtime.clock,
        accounts,
        invoices,
        settings.default_plan,
        timedelta(seconds=settings.unpaid_grace_s),
    )

    storage = Storage(runtime.objects, runtime.clock, invoices)

    def live() -> bool:
        return all(runtime.projectors[v.name].state == "live" for v in (UsageView, InvoicesView))

    background: dict[str, Callable[[], Awaitable[None]]] = {
        "watch quotas": lambda: every(QUOTAS_EVERY_S, watch.quotas, live),
        "measure storage": lambda: every(STORAGE_POLL_S, storage.measure, live),
        "watch unpaid invoices": lambda: every(DUNNING_EVERY_S, watch.unpaid, live),
    }
    stripe: Stripe | None = None
    if settings.stripe_key is not None:
        secret = settings.stripe_webhook_secret
        stripe = Stripe(
            settings.stripe_key.get_secret_value(),
            secret.get_secret_value() if secret is not None else None,
            settings.stripe_url,
        )
        payments = Payments(stripe, accounts, invoices, runtime.clock)
        outboxes.append(outbox(payments))
        reconcile = partial(watch.reconcile, stripe, payments)
        background["reconcile with Stripe"] = lambda: every(RECONCILE_EVERY_S, reconcile, live)
    months = Months(runtime)
    opener = AccountOpener(runtime.log, runtime.tail, runtime.clock, accounts, settings.default_plan)

    async def start() -> None:
        await make_unless_lost(key, runtime.log)
        if runtime.settings.owner_file is not None:
            allowed = Entitlements(
                executions_per_month=None,
                vcpu_millis=settings.owner_vcpu_millis,
                memory_mib=settings.owner_memory_mib,
                duration_s=settings.owner_duration_s,
            )
            await accounts.open_account(owner.load(runtime.settings.owner_file).org, "self-hosted", allowed)

    if settings.close_after_s is not None:
        issuer = InvoiceIssuer(invoices, runtime.log, runtime.pool, runtime.clock)
        background["close periods"] = PeriodCloser(issuer, timedelta(seconds=settings.close_after_s)).run

    return Service(
        name="billing",
        router=api.router(runtime, accounts, invoices, exports, stripe, settings.return_url, months),
        views=(UsageView(), InvoicesView(), PaymentsView(), MailView()),
        outboxes=outboxes,
        on_start=start,
        background={
            "open accounts": opener.open_accounts,
            "roll periods": opener.roll_periods,
            "add up": Audit(runtime, watch).run,
            "answer requests": lambda: answer_requests(runtime.nats, {ASK_MONTH: months.of}),
        }
        | background,
    )
