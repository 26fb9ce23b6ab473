"""The customer's billing address, and a draft of the next invoice."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from remote_claude.billing.api.invoice_models import InvoiceDraft
from remote_claude.billing.api.usage import PeriodId
from remote_claude.billing.coupons import Coupons
from remote_claude.billing.invoices import Invoices
from remote_claude.contracts.billing import CouponTerms
from remote_claude.edge.caller import Caller
from remote_claude.edge.freshness import Freshness
from remote_claude.edge.models import problems

Text = Annotated[str, Field(min_length=1, max_length=200)]


class BillingAddress(BaseModel):
    """Who invoices are made out to. `country` (ISO 3166, two letters) decides the tax; `email` gets the invoices."""

    name: Text
    address: Annotated[list[Text], Field(min_length=1, max_length=6)]
    country: Annotated[str, Field(pattern="^[A-Z]{2}$")]
    vat_id: Annotated[str | None, Field(pattern="^[A-Z]{2}[A-Z0-9]{2,14}$")] = None
    email: Annotated[str | None, Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)] = None


class BillingAddressAnswer(BaseModel):
    """Null where none was set."""

    address: BillingAddress | None


class CouponCode(BaseModel):
    """A coupon by its code; capital letters do not matter."""

    code: Annotated[str, Field(pattern="^[A-Za-z0-9-]{3,40}$")]


class RedeemedCoupon(BaseModel):
    """What the coupon takes off the next invoices."""

    coupon: str
    terms: CouponTerms


def add_routes(api: APIRouter, fresh: Freshness, invoices: Invoices, coupons: Coupons) -> None:
    """The routes `/v1/billing/address`, `/v1/billing/coupons` and `/v1/billing/draft`."""

    @api.put("/billing/address", operation_id="set_billing_address", responses=problems(401, 403, 422, 503))
    async def set_billing_address(body: BillingAddress, principal: Caller) -> BillingAddressAnswer:
        """Make invoices out to this name and address from the next closing on. It is stored sealed."""
        await invoices.change_customer(principal.org, body.model_dump(), body.country, principal.user)
        return BillingAddressAnswer(address=body)

    @api.post("/billing/coupons", operation_id="redeem_coupon", responses=problems(401, 403, 404, 422, 503))
    async def redeem_coupon(body: CouponCode, principal: Caller) -> RedeemedCoupon:
        """Take a coupon off the next invoices. An organisation redeems a coupon once; again changes nothing."""
        redeemed = await coupons.redeem(principal.org, body.code, principal.user)
        return RedeemedCoupon(coupon=redeemed.coupon, terms=redeemed.terms)

    @api.get("/billing/address", operation_id="get_billing_address", responses=problems(401, 403, 503))
    async def get_billing_address(principal: Caller) -> BillingAddressAnswer:
        """Who invoices are made out to."""
        found = await invoices.customer(await invoices.account(principal.org))
        return BillingAddressAnswer(address=BillingAddress(**found) if found else None)

    @api.get(
        "/billing/draft", operation_id="get_invoice_draft", dependencies=[Depends(fresh)],
        responses=problems(401, 403, 404, 503),
    )  # fmt: skip
    async def get_invoice_draft(principal: Caller, period: PeriodId = None) -> InvoiceDraft:
        """A draft of a period's invoice, as of now. `state`: `draft`, `grace` until it is closed, `final`."""
        return cast("InvoiceDraft", await invoices.draft(principal.org, period))
