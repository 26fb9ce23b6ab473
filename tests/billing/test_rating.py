"""A bill's lines are exact, and rounded once."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from remote_claude.billing.domain.plans import builtin
from remote_claude.billing.domain.rating import Key, Line, Segment, allocate, rate, share_of, total
from remote_claude.contracts.prices import (
    Allowance,
    Component,
    Flat,
    Graduated,
    Minimum,
    PerUnit,
    PriceBook,
    Tier,
    Volume,
)

START, MIDDLE, END = (f"2026-11-{day}T00:00:00.000000Z" for day in ("01", "16", "30"))

amounts = st.integers(min_value=0, max_value=2**63)
prices = st.decimals(min_value=0, max_value=10**6, places=4).map(lambda price: format(price, "f"))
TIERS = (Tier(up_to=10, price="5"), Tier(up_to=20, price="3"), Tier(up_to=None, price="1"))


def rated(quantities: dict[Key, int], *components: Component, share: Fraction = Fraction(1)) -> list[Line]:
    return rate([segment(quantities, *components, share=share)])


def segment(
    quantities: dict[Key, int], *components: Component, share: Fraction = Fraction(1), number: int = 0
) -> Segment:
    book = PriceBook(version="1", components=components)
    return Segment(
        number=number, starts_at=START, ends_at=END, share=share, price_book=book, quantities=quantities
    )


def plan(name: str, quantities: dict[Key, int]) -> list[Line]:
    book = builtin().plans[name].price_book
    return rate([Segment(starts_at=START, ends_at=END, price_book=book, quantities=quantities)])


def test_what_is_included_is_free_and_what_exceeds_it_is_not() -> None:
    book = (PerUnit(meter="executions", price="5"), Allowance(meter="executions", quantity=100))
    for used, included, amount in ((103, 100, 15), (7, 7, 0)):
        [line] = rated({Key("executions"): used}, *book)
        assert (line.included, line.amount_nano) == (included, amount)


def test_an_allowance_without_a_bound_makes_everything_free() -> None:
    unlimited = Allowance(meter="executions", quantity=None)
    [line] = rated({Key("executions"): 10**9}, PerUnit(meter="executions", price="5"), unlimited)
    assert (line.included, line.amount_nano) == (10**9, 0)


def test_a_meter_that_was_not_used_has_no_line() -> None:
    assert plan("free", {}) == []


def test_a_meter_without_a_price_is_shown_and_costs_nothing() -> None:
    [line] = plan("free", {Key("vcpu_ms"): 5})
    assert (line.quantity, line.amount_nano) == (5, 0)


def test_a_subscription_is_a_line_even_when_nothing_was_used() -> None:
    assert total(plan("pro", {})) == 29 * 10**9


def test_model_dollars_are_passed_on_as_they_were_measured() -> None:
    assert total(plan("self-hosted", {Key("model_nano_usd"): 123_456_789})) == 123_456_789


def test_graduated_tiers_price_each_unit_and_volume_tiers_the_whole() -> None:
    used = {Key("vcpu_ms"): 25}
    assert total(rated(used, Graduated(meter="vcpu_ms", tiers=TIERS))) == 10 * 5 + 10 * 3 + 5 * 1
    assert total(rated(used, Volume(meter="vcpu_ms", tiers=TIERS))) == 25 * 1
    assert total(rated({Key("vcpu_ms"): 20}, Volume(meter="vcpu_ms", tiers=TIERS))) == 20 * 3


def test_a_minimum_tops_up_what_was_metered() -> None:
    book = (PerUnit(meter="executions", price="5"), Minimum(amount="100"))
    assert [line.amount_nano for line in rated({Key("executions"): 3}, *book)] == [15, 85]
    assert [line.amount_nano for line in rated({Key("executions"): 30}, *book)] == [150]


def test_tokens_of_a_model_take_their_own_price_and_the_rest_the_general_one() -> None:
    used = {Key("model_tokens", "opus", "input"): 2, Key("model_tokens", "haiku", "input"): 3}
    general = PerUnit(meter="model_tokens", price="1")
    own = PerUnit(meter="model_tokens", model="opus", token="input", price="10")
    assert {(line.model, line.amount_nano) for line in rated(used, general, own)} == {(None, 3), ("opus", 20)}


def test_flat_prices_allowances_and_minimums_are_prorated_to_the_second() -> None:
    half = share_of(START, MIDDLE, START, "2026-12-01T00:00:00.000000Z")
    assert half == Fraction(1, 2)
    book = (
        Flat(amount="30"),
        PerUnit(meter="executions", price="5"),
        Allowance(meter="executions", quantity=10),
    )
    flat, metered = rated({Key("executions"): 7}, *book, share=half)
    assert (flat.amount_nano, metered.included, metered.amount_nano) == (15, 5, 10)


@pytest.mark.parametrize(
    ("components", "reason"),
    [
        ((PerUnit(meter="executions", price="1"), PerUnit(meter="executions", price="2")), "two components"),
        ((Allowance(meter="executions", quantity=1),), "without a price"),
        ((PerUnit(meter="vcpu_ms", model="opus", price="1"),), "not metered by model"),
    ],
)
def test_a_price_book_that_contradicts_itself_is_refused(
    components: tuple[Component, ...], reason: str
) -> None:
    with pytest.raises(ValidationError, match=reason):
        PriceBook(version="1", components=components)


@pytest.mark.parametrize("price", ["-1", "NaN", "Infinity", "a dollar", ""])
def test_a_price_is_a_decimal_number_of_zero_or_more(price: str) -> None:
    with pytest.raises(ValidationError, match="is no price"):
        PerUnit(meter="executions", price=price)


@pytest.mark.parametrize(
    "tiers", [(), (Tier(up_to=5, price="1"),), (Tier(up_to=5, price="1"), Tier(up_to=5, price="1"), TIERS[2])]
)
def test_tiers_rise_and_only_the_last_is_open(tiers: tuple[Tier, ...]) -> None:
    with pytest.raises(ValidationError, match="tier"):
        Graduated(meter="executions", tiers=tiers)


@given(amounts, prices)
def test_a_line_is_the_exact_product_rounded_half_to_even(quantity: int, price: str) -> None:
    lines = rated({Key("vcpu_ms"): quantity}, PerUnit(meter="vcpu_ms", price=price))
    assert total(lines) == round(quantity * Fraction(price)) if lines else quantity == 0


@given(st.lists(amounts, min_size=1, max_size=20))
def test_with_whole_prices_the_parts_sum_to_the_whole(parts: list[int]) -> None:
    whole = total(plan("self-hosted", {Key("vcpu_ms"): sum(parts)}))
    assert whole == sum(total(plan("self-hosted", {Key("vcpu_ms"): part})) for part in parts)


@given(amounts, st.lists(st.integers(0, 2**40), min_size=1, max_size=50))
def test_an_amount_that_is_split_loses_nothing_and_nobody_is_off_by_more_than_one(
    amount: int, weights: list[int]
) -> None:
    parts = allocate(amount, weights)
    if sum(weights) == 0:
        assert not any(parts)
        return
    assert sum(parts) == amount
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(amount * weight, sum(weights))) < 1


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=12), prices)
def test_segments_that_fill_a_period_come_to_one_whole_flat_price(seconds: list[int], price: str) -> None:
    segments = [
        segment({}, Flat(amount=price), share=Fraction(s, sum(seconds)), number=n)
        for n, s in enumerate(seconds)
    ]
    assert sum(line.exact for line in rate(segments)) == Fraction(price)
