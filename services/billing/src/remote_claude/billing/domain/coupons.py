"""The decider of a coupon: created once, redeemed by as many organisations as it says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from remote_claude.billing.domain.invoicing import BillingRefusal
from remote_claude.contracts.billing import CouponAssigned, CouponCreated
from remote_claude.eventsourcing import Decider, stream_id


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
class OfferedCoupon:
    """A coupon, and the organisations that a redemption belongs to."""

    created: CouponCreated | None = None
    customers: frozenset[str] = frozenset()


def decide(new: CouponCreated | CouponAssigned, known: OfferedCoupon) -> list[CouponCreated | CouponAssigned]:
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


def evolve(known: OfferedCoupon, event: CouponCreated | CouponAssigned) -> OfferedCoupon:
    if isinstance(event, CouponCreated):
        return replace(known, created=event)
    return replace(known, customers=known.customers | {event.customer})


COUPON = Decider[Any, Any](OfferedCoupon(), decide, evolve)


def coupon_stream(code: str) -> str:
    return stream_id("billing", None, "coupon", code)
