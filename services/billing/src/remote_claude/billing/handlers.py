"""Commands on the accounts of organisations, and on the plans that they choose from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import structlog

from remote_claude.billing.domain.account import (
    Command,
    OpenAccount,
    SetPlan,
    UnknownOrganisation,
    decide,
    evolve,
    initial_state,
)
from remote_claude.billing.domain.plans import Catalog, builtin
from remote_claude.billing.plan_sizes import slots, too_large
from remote_claude.contracts import UndecodableEvent
from remote_claude.contracts.billing import Entitlements, ModelPricesPublished
from remote_claude.contracts.model_prices import ModelPrices, list_prices
from remote_claude.contracts.refusals import Refusal
from remote_claude.eventsourcing import (
    Clock,
    CommandHandler,
    Decider,
    EventLog,
    NewEventId,
    new_event_id,
    stream_id,
)
from remote_claude.runtime.ids import is_id

CATALOG = stream_id("billing", None, "catalog", "plans")

ACCOUNT = Decider(initial_state, decide, evolve)
OFFERED = Decider[Any, Any](
    None, lambda new, last: [] if _same_offer(last, new) else [new], lambda _, new: new
)
"""The plans that were published last."""

MODEL_PRICES = stream_id("billing", None, "catalog", "models")


class VersionTaken(Refusal):
    """The version of model prices was published with other prices: usage names it, so it can't change its meaning."""

    code: ClassVar[str] = "version_taken"
    status: ClassVar[int] = 409

    def __init__(self, version: str) -> None:
        super().__init__(
            f"the version {version!r} was published with other prices; give the file a new version"
        )


def _offer_models(
    new: ModelPricesPublished, published: tuple[ModelPrices, ...]
) -> list[ModelPricesPublished]:
    if any(one.version == new.prices.version and one != new.prices for one in published):
        raise VersionTaken(new.prices.version)
    return [] if published and published[-1] == new.prices else [new]


MODEL_OFFER = Decider[Any, Any]((), _offer_models, lambda published, new: (*published, new.prices))
"""The prices of models that were published; the last ones hold."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AssignedPlan:
    """A plan was set. `note` says why no runner can take a task of the plan; None where one can."""

    position: int
    note: str | None


class Accounts:
    """Commands on the accounts of organisations."""

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        event_id: NewEventId = new_event_id,
        *,
        upgrade_url: str | None = None,
    ) -> None:
        self._log, self._clock = log, clock
        self._handler = CommandHandler(log, clock, event_id)
        self._upgrade_url = upgrade_url

    async def catalog(self) -> Catalog:
        """The plans that can be chosen: those published last, or those of a new stack."""
        published = await self._log.read_stream(CATALOG)
        return Catalog.of(published[-1].event) if published else builtin()

    async def publish(self, catalog: Catalog, actor: str | None) -> int:
        """Offer these plans from now on; returns the position of the event. What is offered already is not recorded again."""
        return (await self._handler.handle(OFFERED, CATALOG, catalog.published(actor))).position

    async def model_prices(self) -> ModelPrices:
        """What models cost: the prices that were published last, or the list prices."""
        published = await self._log.read_stream(MODEL_PRICES)
        return published[-1].event.prices if published else list_prices()

    async def publish_model_prices(self, prices: ModelPrices, actor: str | None) -> int:
        """Price the attempts that begin from now on; returns the position of the event. The same again is not recorded again.

        Raises `VersionTaken` for other prices under a version that was published.
        """
        event = ModelPricesPublished(prices=prices, actor=actor)
        return (await self._handler.handle(MODEL_OFFER, MODEL_PRICES, event)).position

    async def set_plan(
        self, org: str, plan: str, entitlements: Entitlements | None = None, **how: Any
    ) -> int:
        """Put an organisation on a plan; returns the position of the last event of its account.

        `how` are fields of `SetPlan`. Raises `UnknownPlan`, `NoAccount`.
        """
        catalog = await self.catalog()
        command = SetPlan(
            org=org,
            plan=plan,
            now=self._clock(),
            catalog=catalog,
            entitlements=entitlements,
            upgrade=self._upgrade(catalog, plan),
            **how,
        )
        return await self._handle(command)

    async def assign_plan(self, org: str, plan: str, actor: str) -> AssignedPlan:
        """Put an organisation on a plan, as the operator decides. Raises `UnknownOrganisation`, `UnknownPlan`."""
        if not is_id("org", org) or not await self._log.read_stream(stream_id("users", org, "org", org)):
            raise UnknownOrganisation(org)
        position = await self.set_plan(org, plan, actor=actor)
        allowed = (await self.catalog()).plans[plan].entitlements
        return AssignedPlan(position, too_large(allowed, await slots(self._log)))

    async def open_account(self, org: str, plan: str, entitlements: Entitlements | None = None) -> None:
        """Put an organisation on its first plan; one that has a plan keeps it. Opens the periods that are missing.

        An account that can't be read is left as it is.
        """
        catalog = await self.catalog()
        command = OpenAccount(
            org=org,
            plan=plan,
            now=self._clock(),
            catalog=catalog,
            entitlements=entitlements,
            upgrade=self._upgrade(catalog, plan),
        )
        try:
            await self._handle(command)
        except UndecodableEvent as error:
            log.error("an account can't be read, and is left as it is", org=org, detail=str(error))

    def _upgrade(self, catalog: Catalog, plan: str) -> str | None:
        """The text for users who reach a limit of a plan."""
        larger = catalog.upgrade_of(catalog.plans[plan]) if plan in catalog.plans else None
        if larger is None:
            return None
        if not larger.self_service:
            return f"The plan {larger.plan} allows more: ask your operator for it."
        link = f" or open {self._upgrade_url}" if self._upgrade_url else ""
        return (
            f"The plan {larger.plan} allows more at once: run `rclaude billing upgrade {larger.plan}`{link}"
        )

    async def _handle(self, command: Command) -> int:
        handled = await self._handler.handle(ACCOUNT, account_stream(command.org), command, now=command.now)
        return handled.position


def account_stream(org: str) -> str:
    return stream_id("billing", org, "account", org)


def _same_offer(last: Any, new: Any) -> bool:
    return last is not None and bool(last.model_copy(update={"actor": new.actor}) == new)
