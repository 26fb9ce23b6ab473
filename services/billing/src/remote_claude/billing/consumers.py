"""Process manager `accounts`: every organisation gets an account, and every account its period."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog

from remote_claude.billing.domain.invoicing import BillingRefusal
from remote_claude.billing.handlers import Accounts
from remote_claude.billing.invoice_issuing import InvoiceIssuer
from remote_claude.billing.projections.issued import InvoicesView
from remote_claude.billing.projections.mail import MailView
from remote_claude.billing.projections.payments import PaymentsView
from remote_claude.billing.projections.usage import UsageView
from remote_claude.contracts import UndecodableEvent
from remote_claude.contracts.billing import PlanChanged
from remote_claude.contracts.periods import CALENDAR, period_at
from remote_claude.contracts.users import MonthlyBudgetSet, OrgCreated, OrgPolicySet
from remote_claude.eventsourcing import traces
from remote_claude.eventsourcing.events import Clock, RecordedEvent
from remote_claude.eventsourcing.log import EventLog
from remote_claude.eventsourcing.tail import Tail
from remote_claude.runtime.broker.uses import Use

log = structlog.get_logger(__name__)

ROLL_CHECK_S = 1.0
CLOSE_CHECK_S = 60.0

READS = (
    UsageView.handles
    | InvoicesView.handles
    | PaymentsView.handles
    | MailView.handles
    | {OrgCreated.type, PlanChanged.type, MonthlyBudgetSet.type, OrgPolicySet.type}
)
"""The events that billing reads."""

USES: frozenset[Use] = frozenset({Use.READ_KEYS, Use.KEEP_INVOICE_KEYS, Use.ANSWER_MONTH})
"""What billing uses of the broker besides the log."""


class AccountOpener:
    """Opens the account of each new organisation, and each account's next period when a month begins."""

    def __init__(
        self, log: EventLog, tail: Tail, clock: Clock, accounts: Accounts, default_plan: str
    ) -> None:
        self._log, self._tail, self._clock = log, tail, clock
        self._accounts, self._default_plan = accounts, default_plan
        self._orgs: set[str] = set()
        self._known = asyncio.Event()

    async def open_accounts(self) -> None:
        """Follow the log from its organisations on; never ends by itself. What was done before is found done."""
        position = await self._log.last_position()
        created: set[str] = set()
        for subjects in ("ev.users.*.org.>", "ev.billing.*.account.>"):
            async for batch in self._log.read(until=position, subjects=subjects):
                created |= self._note(batch)
        await self._open(created - self._orgs)
        self._known.set()
        async for batch in self._tail.subscribe(after=position):
            await self._open(self._note(batch) - self._orgs)

    async def roll_periods(self) -> None:
        """Open the next period of every account when it begins; never ends by itself."""
        await self._known.wait()  # a month may have begun while nothing ran
        period, opened = "", set[str]()
        while True:
            current = period_at(CALENDAR, self._clock()).id
            if current != period:
                period, opened = current, set()
            missing = self._orgs - opened  # also those that were opened just before the month began
            await self._open(missing)
            opened |= missing
            await asyncio.sleep(ROLL_CHECK_S)

    def _note(self, batch: list[RecordedEvent]) -> set[str]:
        """The organisations that this batch creates; remembers those that have an account. Passes over what can't be read."""
        created = set()
        for recorded in batch:
            try:
                if recorded.type == OrgCreated.type:
                    created.add(recorded.event.org)
                elif recorded.type == PlanChanged.type:
                    self._orgs.add(recorded.event.org)
            except UndecodableEvent as error:
                traces.log_skipped(log, recorded, error)
        return created

    async def _open(self, orgs: set[str]) -> None:
        for org in sorted(orgs):
            await self._accounts.open_account(org, self._default_plan)


class PeriodCloser:
    """Closes periods and issues invoices once they are over for a grace."""

    def __init__(self, issuer: InvoiceIssuer, grace: timedelta) -> None:
        self._issuer, self._grace = issuer, grace

    async def run(self) -> None:
        """Never ends by itself. An organisation that can't be closed keeps no other from it."""
        while True:
            for org in await self._issuer.invoices.organisations():
                try:
                    await self._issuer.close(org, grace=self._grace)
                except (BillingRefusal, UndecodableEvent) as error:
                    log.error("a period can't be closed", org=org, detail=str(error))
            await asyncio.sleep(CLOSE_CHECK_S)
