"""Load, decide, append; try again when somebody else was faster."""

from __future__ import annotations

from typing import Any

import structlog

from remote_claude.billing.domain.account import Account, Command, OpenAccount, SetPlan, decide, fold
from remote_claude.contracts import UndecodableEvent
from remote_claude.contracts.billing import Entitlements
from remote_claude.eventsourcing.events import Clock, NewEvent, NewEventId, new_event_id, stream_id, timestamp
from remote_claude.eventsourcing.log import ConcurrencyConflict, EventLog

log = structlog.get_logger(__name__)


class Accounts:
    """Commands on the accounts of organisations."""

    def __init__(self, log: EventLog, clock: Clock, event_id: NewEventId = new_event_id) -> None:
        self._log, self._clock, self._event_id = log, clock, event_id

    async def set_plan(self, org: str, plan: str, entitlements: Entitlements | None = None) -> int:
        """Put an organisation on a plan; returns the position from which it is. Raises `UnknownPlan`."""
        return await self._handle(SetPlan(org=org, plan=plan, now=self._clock(), entitlements=entitlements))

    async def open_account(self, org: str, plan: str, entitlements: Entitlements | None = None) -> None:
        """Put an organisation on its first plan; one that has a plan keeps it. Opens the periods that are missing.

        An account that can't be read is left as it is.
        """
        try:
            await self._handle(OpenAccount(org=org, plan=plan, now=self._clock(), entitlements=entitlements))
        except UndecodableEvent as error:
            log.error("an account can't be read, and is left as it is", org=org, detail=str(error))

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
