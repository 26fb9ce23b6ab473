"""What billing answers over HTTP."""

from __future__ import annotations

from fastapi import APIRouter

from remote_claude.billing.api import breakdown, customers, invoices, months, operators, payments, usage
from remote_claude.billing.coupons import Coupons
from remote_claude.billing.exports import Exports
from remote_claude.billing.handlers import Accounts
from remote_claude.billing.invoices import Invoices
from remote_claude.billing.month_answers import Months
from remote_claude.billing.projections.usage import UsageView
from remote_claude.billing.stripe_adapter import Stripe
from remote_claude.edge.freshness import Freshness
from remote_claude.runtime.service import Runtime


def router(
    runtime: Runtime,
    accounts: Accounts,
    issued: Invoices,
    exports: Exports,
    stripe: Stripe | None,
    return_url: str,
    month: Months,
) -> APIRouter:
    """The routes of billing."""
    api = APIRouter(prefix="/v1", tags=["billing"])
    fresh = Freshness(runtime.tail, lambda: runtime.projectors[UsageView.name])
    usage.add_routes(api, runtime, fresh)
    months.add_routes(api, month, fresh)
    breakdown.add_routes(api, runtime, fresh)
    invoices.add_routes(api, runtime, fresh, issued, exports)
    customers.add_routes(api, fresh, issued, Coupons(runtime.log, runtime.clock, issued))
    operators.add_routes(api, runtime, fresh, accounts)
    payments.add_routes(api, runtime, accounts, issued, stripe, return_url)
    return api
