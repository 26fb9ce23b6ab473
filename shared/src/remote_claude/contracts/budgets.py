"""What is left of a month's money: a request on core NATS to billing, which knows what was used.

Not an event: the answer changes with every call to a model, and nothing follows from it.
"""

from typing import Self

from remote_claude.contracts.base import Quantity, Value

SUBJECT = "budget.month"
EXHAUSTED = "budget_exhausted"


class MonthRequest(Value):
    """A person, and the organisation and the team that they act for."""

    org: str
    user: str
    team: str | None = None


class MonthSpent(Value):
    """What models have cost this month, on any key. `limit_nano_usd` is None where no budget is set."""

    spent_nano_usd: Quantity = 0
    limit_nano_usd: Quantity | None = None

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left."""
        return self.limit_nano_usd is not None and self.spent_nano_usd >= self.limit_nano_usd

    def after(self, nano_usd: int) -> Self:
        """With this much more spent."""
        return self.model_copy(update={"spent_nano_usd": self.spent_nano_usd + nano_usd})


class PlanSpent(Value):
    """What a plan without overage bounds of a period's money: model use, and all use without flat amounts.

    A plan that bounds neither has no limits here, and what is spent is not summed up.
    """

    plan: str = ""
    model: MonthSpent = MonthSpent()
    total: MonthSpent = MonthSpent()


class MonthAnswer(Value):
    """The billing period, and what organisation, team and person have spent in it. `ends_at` is RFC 3339, UTC."""

    period: str
    ends_at: str
    organisation: MonthSpent
    team: MonthSpent = MonthSpent()
    person: MonthSpent
    plan: PlanSpent = PlanSpent()

    def after(self, nano_usd: int) -> Self:
        """With this much more spent by the person."""
        spent = {name: getattr(self, name).after(nano_usd) for name in ("organisation", "team", "person")}
        plan = {name: getattr(self.plan, name).after(nano_usd) for name in ("model", "total")}
        return self.model_copy(update=spent | {"plan": self.plan.model_copy(update=plan)})

    @property
    def bounded(self) -> bool:
        """Whether a budget or the plan bounds anything."""
        all_of = (self.organisation, self.team, self.person, self.plan.model, self.plan.total)
        return any(spent.limit_nano_usd is not None for spent in all_of)

    @property
    def plan_exhausted(self) -> str | None:
        """A sentence that says which limit of the plan is reached, and what to do; None while there is money."""
        for what, spent in (("model use", self.plan.model), ("use", self.plan.total)):
            if spent.exhausted:
                assert spent.limit_nano_usd is not None
                return (
                    f"The plan {self.plan.plan} allows ${spent.limit_nano_usd / 1e9:,.2f} of {what} a month, and all of it "
                    f"is used in {self.period}. The next month begins on {self.ends_at[:10]} (UTC). A larger plan "
                    "helps at once: `rclaude billing plans`."
                )
        return None

    @property
    def exhausted(self) -> str | None:
        """A sentence that says which budget is spent, and what to do; None while there is money."""
        for whose, spent in (
            ("Your organisation has", self.organisation),
            ("Your team has", self.team),
            ("You have", self.person),
        ):
            if spent.exhausted:
                assert spent.limit_nano_usd is not None
                return (
                    f"{whose} spent ${spent.spent_nano_usd / 1e9:,.2f} of the budget of ${spent.limit_nano_usd / 1e9:,.2f} "
                    f"for {self.period}. The next month begins on {self.ends_at[:10]} (UTC). An owner or admin of the "
                    "organisation can raise it: `rclaude budget set`."
                )
        return None
