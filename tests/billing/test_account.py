"""Plans and periods of an account."""

from datetime import UTC, datetime

from given import Decider
from remote_claude.billing.domain.account import OpenAccount, SetPlan, UnknownPlan, decide, fold
from remote_claude.billing.domain.periods import Period
from remote_claude.billing.domain.plans import PLANS
from remote_claude.contracts.billing import PeriodOpened, PlanChanged

ACCOUNT = Decider(fold, decide)
NOVEMBER = datetime(2026, 11, 22, 12, tzinfo=UTC)
JANUARY = datetime(2027, 1, 1, tzinfo=UTC)


def on(plan: str) -> PlanChanged:
    return PlanChanged(org="org_1", plan=plan, entitlements=PLANS[plan].entitlements)


def opened(name: str, plan: str) -> PeriodOpened:
    starts_at, ends_at = Period.named(name).bounds()
    return PeriodOpened(
        org="org_1", period=name, starts_at=starts_at, ends_at=ends_at, price_book=PLANS[plan].price_book
    )


def test_a_new_account_is_on_its_first_plan_with_its_period_open() -> None:
    ACCOUNT.given().when(OpenAccount(org="org_1", plan="free", now=NOVEMBER)).then(
        on("free"), opened("2026-11", "free")
    )


def test_an_account_that_has_a_plan_keeps_it() -> None:
    given = ACCOUNT.given(on("pro"), opened("2026-11", "pro"))
    given.when(OpenAccount(org="org_1", plan="free", now=NOVEMBER)).then()


def test_every_month_that_was_missed_is_opened() -> None:
    given = ACCOUNT.given(on("pro"), opened("2026-11", "pro"))
    given.when(OpenAccount(org="org_1", plan="free", now=JANUARY)).then(
        opened("2026-12", "pro"), opened("2027-01", "pro")
    )


def test_a_change_of_plan_leaves_the_open_period_at_its_prices() -> None:
    given = ACCOUNT.given(on("free"), opened("2026-11", "free"))
    given.when(SetPlan(org="org_1", plan="pro", now=NOVEMBER)).then(on("pro"))


def test_the_same_plan_again_changes_nothing() -> None:
    given = ACCOUNT.given(on("pro"), opened("2026-11", "pro"))
    given.when(SetPlan(org="org_1", plan="pro", now=NOVEMBER)).then()


def test_a_plan_that_is_not_offered_is_refused() -> None:
    ACCOUNT.given().when(SetPlan(org="org_1", plan="platinum", now=NOVEMBER)).then_refused(UnknownPlan)


def test_a_period_is_a_month_in_utc() -> None:
    assert Period.containing(datetime.fromisoformat("2027-01-01T00:30:00+01:00")).name == "2026-12"
    assert Period.named("2026-12").following().name == "2027-01"
    assert Period.named("2026-12").bounds() == ("2026-12-01T00:00:00.000000Z", "2027-01-01T00:00:00.000000Z")
