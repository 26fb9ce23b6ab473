"""A bill's lines are exact, and rounded once."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from remote_claude.billing.domain.plans import PLANS
from remote_claude.billing.domain.rating import rate, total
from remote_claude.contracts.billing import PriceBook

quantities = st.integers(min_value=0, max_value=2**63)
prices = st.decimals(min_value=0, max_value=10**6, places=4).map(lambda price: format(price, "f"))


def test_what_is_included_is_free_and_what_exceeds_it_is_not() -> None:
    book = PriceBook(version="1", included_executions=100, per_execution="5")
    assert [(line.included, line.amount_nano_usd) for line in rate({"executions": 103}, book)] == [(100, 15)]
    assert [(line.included, line.amount_nano_usd) for line in rate({"executions": 7}, book)] == [(7, 0)]


def test_a_meter_that_was_not_used_has_no_line() -> None:
    assert rate({}, PLANS["free"].price_book) == []


def test_a_subscription_is_a_line_even_when_nothing_was_used() -> None:
    assert total(rate({}, PLANS["pro"].price_book)) == 29 * 10**9


def test_model_dollars_are_passed_on_as_they_were_measured() -> None:
    assert total(rate({"model_nano_usd": 123_456_789}, PLANS["self-hosted"].price_book)) == 123_456_789


@given(quantities, prices)
def test_a_line_is_the_exact_product_rounded_half_to_even(quantity: int, price: str) -> None:
    lines = rate({"vcpu_ms": quantity}, PriceBook(version="1", per_vcpu_ms=price))
    assert total(lines) == round(quantity * Decimal(price)) if lines else quantity == 0


@given(st.lists(quantities, min_size=1, max_size=20))
def test_with_whole_prices_the_parts_sum_to_the_whole(parts: list[int]) -> None:
    book = PLANS["self-hosted"].price_book
    assert total(rate({"vcpu_ms": sum(parts)}, book)) == sum(
        total(rate({"vcpu_ms": part}, book)) for part in parts
    )
