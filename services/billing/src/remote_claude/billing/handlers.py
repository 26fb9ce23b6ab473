"""Load, decide, append; try again when somebody else was faster."""

from __future__ import annotations

from typing import Any

import structlog

from remote_claude.billing.domain.account import Account, Command, OpenAccount, SetPlan, decide, fold
from remote_claude.billing.domain.plans import Catalog, builtin
from remote_claude.contracts import UndecodableEvent
from remote_claude.contracts.billing import Entitlements
from remote_claude.eventsourcing.events import Clock, NewEvent, NewEventId, new_event_id, stream_id, timestamp
from remote_claude.eventsourcing.log import ConcurrencyConflict, EventLog

CATALOG = stream_id("billing", None, "catalog", "plans")

log = structlog.get_logger(__name__)


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
        self._log, self._clock, self._event_id = log, clock, event_id
        self._upgrade_url = upgrade_url

    async def catalog(self) -> Catalog:
        """The plans that can be chosen: those published last, or those of a new stack."""
        published = await self._log.read_stream(CATALOG)
        return Catalog.of(published[-1].event) if published else builtin()

    async def publish(self, catalog: Catalog, actor: str | None) -> int:
        """Offer these plans from now on; returns the position of the event. What is offered already is not recorded again."""
        history = await self._log.read_stream(CATALOG)
        position = history[-1].position if history else 0
        event = catalog.published(actor)
        if history and history[-1].event.model_copy(update={"actor": actor}) == event:
            return position
        new = NewEvent(event=event, event_id=self._event_id(), occurred_at=timestamp(self._clock()))
        return await self._log.append(CATALOG, [new], expected_position=position)

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
        """What to tell those who reach a limit of a plan."""
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
        stream = _stream(command.org)
        while True:
            account, position = await self._load(command.org)
            events: list[Any] = decide(command, account)
            if not events:
                return position
            new = [
                NewEvent(
                    event=event,
                    event_id=self._event_id(),
                    occurred_at=timestamp(command.now),
                    correlation_id=command.org,
                )
                for event in events
            ]
            try:
                return await self._log.append(stream, new, expected_position=position)
            except ConcurrencyConflict:
                continue

    async def _load(self, org: str) -> tuple[Account, int]:
        history = await self._log.read_stream(_stream(org))
        return fold([recorded.event for recorded in history]), history[-1].position if history else 0


def _stream(org: str) -> str:
    return stream_id("billing", org, "account", org)
