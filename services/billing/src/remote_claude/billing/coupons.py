"""Coupons: an operator creates them, an organisation or the operator redeems them, invoices take them off."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from remote_claude.billing.domain.invoicing import BillingRefusal, RedeemCoupon
from remote_claude.billing.period_closing import Invoices
from remote_claude.contracts.billing import CouponAssigned, CouponCreated, CouponRedeemed
from remote_claude.eventsourcing import Clock, CommandHandler, Decider, EventLog, stream_id, timestamp


class UnknownCoupon(BillingRefusal):
    """There is no such coupon, or it can't be redeemed any more."""

    status = 404
    code = "coupon_not_found"


class CouponTaken(BillingRefusal):
    """A coupon of this code has other terms."""

    code = "coupon_taken"


class CouponExhausted(BillingRefusal):
    """As many organisations as may have redeemed the coupon."""

    code = "coupon_exhausted"


@dataclass(frozen=True, slots=True)
class Offered:
    """A coupon, and the organisations that a redemption belongs to."""

    created: CouponCreated | None = None
    customers: frozenset[str] = frozenset()


def _decide(new: CouponCreated | CouponAssigned, known: Offered) -> list[CouponCreated | CouponAssigned]:
    """Raises `CouponTaken`, `CouponExhausted`."""
    match new, known.created:
        case CouponCreated(), None:
            return [new]
        case CouponCreated(), CouponCreated() as created:
            if created.model_copy(update={"actor": new.actor}) != new:
                raise CouponTaken(f"The coupon {new.coupon} has other terms: choose another code.")
            return []
        case CouponAssigned(), CouponCreated() as created:
            if new.customer in known.customers:
                return []
            if created.max_redemptions is not None and len(known.customers) >= created.max_redemptions:
                raise CouponExhausted(f"The coupon {new.coupon} has been redeemed as often as it can be.")
            return [new]
        case _:
            raise UnknownCoupon(f"There is no coupon {new.coupon!r}.")


def _evolve(known: Offered, event: CouponCreated | CouponAssigned) -> Offered:
    if isinstance(event, CouponCreated):
        return replace(known, created=event)
    return replace(known, customers=known.customers | {event.customer})


COUPON = Decider[Any, Any](Offered(), _decide, _evolve)


def coupon_stream(code: str) -> str:
    return stream_id("billing", None, "coupon", code)


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
