"""Plans and periods of an account."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from given import Decider
from remote_claude.billing.domain.account import NoAccount, OpenAccount, SetPlan, UnknownPlan, decide, fold
from remote_claude.billing.domain.plans import builtin
from remote_claude.contracts.billing import PeriodOpened, PlanChanged, PlanChangeScheduled
from remote_claude.contracts.periods import CALENDAR, period_at
from remote_claude.eventsourcing.events import timestamp

ACCOUNT = Decider(fold, decide)
ORG = "org_1"
NOVEMBER = datetime(2026, 11, 22, 12, tzinfo=UTC)
JANUARY = datetime(2027, 1, 1, tzinfo=UTC)
PLANS = builtin().plans
OPENED: dict[str, Any] = {"actor": "billing", "reason": "account_opened"}


def on(plan: str, at: datetime = NOVEMBER, **more: Any) -> PlanChanged:
    found = PLANS[plan]
    return PlanChanged(
        org=ORG,
        plan=plan,
        plan_version=found.version,
        entitlements=found.entitlements,
        price_book=found.price_book,
        effective_at=timestamp(at),
        **more,
    )


def opened(instant: datetime, plan: str, anchor: str = CALENDAR) -> PeriodOpened:
    period = period_at(anchor, instant)
    return PeriodOpened(
        org=ORG,
        period=period.id,
        starts_at=period.starts_at,
        ends_at=period.ends_at,
        plan=plan,
        plan_version=PLANS[plan].version,
        price_book=PLANS[plan].price_book,
        customer=ORG,
    )


def open_account(plan: str = "free", now: datetime = NOVEMBER, **more: Any) -> OpenAccount:
    return OpenAccount(org=ORG, plan=plan, now=now, catalog=builtin(), **more)


def set_plan(plan: str, now: datetime = NOVEMBER, **more: Any) -> SetPlan:
    return SetPlan(org=ORG, plan=plan, now=now, catalog=builtin(), **more)


def test_a_new_account_is_on_its_first_plan_with_its_period_open() -> None:
    ACCOUNT.given().when(open_account()).then(on("free", **OPENED), opened(NOVEMBER, "free"))


def test_an_account_that_has_a_plan_keeps_it() -> None:
    ACCOUNT.given(on("pro"), opened(NOVEMBER, "pro")).when(open_account()).then()


def test_every_month_that_was_missed_is_opened() -> None:
    given = ACCOUNT.given(on("pro"), opened(NOVEMBER, "pro"))
    december = datetime(2026, 12, 5, tzinfo=UTC)
    given.when(open_account(now=JANUARY)).then(opened(december, "pro"), opened(JANUARY, "pro"))


def test_an_anniversary_account_has_periods_from_its_anchor_on() -> None:
    anchor = timestamp(NOVEMBER)
    ACCOUNT.given().when(open_account(anchor=anchor)).then(
        on("free", anchor=anchor, **OPENED), opened(NOVEMBER, "free", anchor)
    )


def test_an_upgrade_leaves_the_open_period_and_carries_its_own_prices() -> None:
    given = ACCOUNT.given(on("free"), opened(NOVEMBER, "free"))
    given.when(set_plan("pro", actor="user_1")).then(on("pro", actor="user_1"))


def test_the_same_plan_again_changes_nothing() -> None:
    ACCOUNT.given(on("pro"), opened(NOVEMBER, "pro")).when(set_plan("pro")).then()


def test_a_new_version_of_the_plan_is_a_change() -> None:
    newer = PLANS["pro"].model_copy(update={"version": "pro-2"})
    catalog = replace(builtin(), plans={**PLANS, "pro": newer})
    given = ACCOUNT.given(on("pro"), opened(NOVEMBER, "pro"))
    [changed] = given.when(replace(set_plan("pro"), catalog=catalog)).decided()
    assert changed.plan_version == "pro-2"


def test_a_downgrade_waits_for_the_end_of_the_period() -> None:
    scheduled = PlanChangeScheduled(
        org=ORG, plan="free", effective_at="2026-12-01T00:00:00.000000Z", actor="user_1"
    )
    given = ACCOUNT.given(on("pro"), opened(NOVEMBER, "pro"))
    given.when(set_plan("free", when="period_end", actor="user_1")).then(scheduled)
    later = ACCOUNT.given(on("pro"), opened(NOVEMBER, "pro"), scheduled)
    december = datetime(2026, 12, 1, tzinfo=UTC)
    later.when(open_account(now=datetime(2026, 12, 1, 0, 0, 1, tzinfo=UTC))).then(
        on("free", december, actor="user_1"), opened(december, "free")
    )


def test_a_scheduled_change_that_is_taken_back_never_happens() -> None:
    scheduled = PlanChangeScheduled(org=ORG, plan="free", effective_at="2026-12-01T00:00:00.000000Z")
    given = ACCOUNT.given(on("pro"), opened(NOVEMBER, "pro"), scheduled)
    [kept] = given.when(set_plan("pro", when="period_end")).decided()
    after = ACCOUNT.given(on("pro"), opened(NOVEMBER, "pro"), scheduled, kept)
    december = datetime(2026, 12, 1, tzinfo=UTC)
    after.when(open_account(now=december)).then(opened(december, "pro"))


def test_a_plan_that_is_not_offered_is_refused() -> None:
    ACCOUNT.given().when(set_plan("platinum")).then_refused(UnknownPlan)


def test_a_change_is_not_scheduled_for_an_organisation_without_an_account() -> None:
    ACCOUNT.given().when(set_plan("pro", when="period_end")).then_refused(NoAccount)
