"""Coupons: an operator creates them, an organisation or the operator redeems them, invoices take them off."""

from __future__ import annotations

from contextlib import aclosing

from remote_claude.billing.domain.coupons import COUPON, UnknownCoupon, coupon_stream
from remote_claude.billing.domain.invoicing import RedeemCoupon
from remote_claude.billing.invoices import Invoices
from remote_claude.contracts.billing import CouponAssigned, CouponCreated, CouponRedeemed
from remote_claude.eventsourcing import Clock, CommandHandler, EventLog, timestamp


class Coupons:
    """Commands and queries on coupons."""

    def __init__(self, log: EventLog, clock: Clock, invoices: Invoices) -> None:
        self._log, self._clock, self._invoices = log, clock, invoices
        self._handler = CommandHandler(log, clock)

    async def create(self, created: CouponCreated) -> int:
        """Offer a coupon; returns the position of its event. The same again changes nothing. Raises `CouponTaken`."""
        return (await self._handler.handle(COUPON, coupon_stream(created.coupon), created)).position

    async def all(self) -> list[CouponCreated]:
        """Every coupon, in the order of their creation."""
        found: list[CouponCreated] = []
        async with aclosing(self._log.read(subjects="ev.billing._.coupon.>")) as batches:
            async for batch in batches:
                found += [r.event for r in batch if r.type == CouponCreated.type]
        return found

    async def redeem(self, org: str, code: str, actor: str) -> CouponCreated:
        """Take a coupon off the organisation's next invoices. Raises `UnknownCoupon`, `CouponExhausted`."""
        code = code.lower()
        known = [c for c in await self.all() if c.coupon == code]
        if not known or (known[0].redeem_by or "9") < timestamp(self._clock()):
            raise UnknownCoupon(f"There is no coupon {code[:40]!r} that can be redeemed now.")
        assigned = CouponAssigned(coupon=code, customer=org)
        await self._handler.handle(COUPON, coupon_stream(code), assigned)
        redeemed = CouponRedeemed(org=org, coupon=code, terms=known[0].terms, actor=actor)
        await self._invoices.handle(org, RedeemCoupon(redeemed=redeemed))
        return known[0]
