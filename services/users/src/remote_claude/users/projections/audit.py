"""The view `users_audit`: who did what in an organisation, from where, and when. What is sealed stays so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from psycopg import AsyncConnection
from sqlalchemy import BigInteger, Index
from sqlalchemy.orm import registry
from sqlmodel import Field

from remote_claude.contracts import Sealed
from remote_claude.contracts.auth import ApiKeyIssued, ApiKeyRevoked
from remote_claude.contracts.billing import (
    AdjustmentPosted,
    CouponRedeemed,
    CreditGranted,
    CustomerDetailsChanged,
    PlanChanged,
    PlanChangeScheduled,
)
from remote_claude.contracts.gateway import (
    BatchCancellationRequested,
    BatchSubmitted,
    PermissionAnswered,
    PullRequestRequested,
    ScheduleCreated,
    ScheduleRemoved,
    TaskCancellationRequested,
    TaskMessageSent,
    TaskShared,
    TaskSubmitted,
    TaskUnshared,
    TriggerCreated,
    TriggerRemoved,
    WebhookAdded,
    WebhookRemoved,
    WebhookReplayRequested,
)
from remote_claude.contracts.runner import PortOpened, ShellOpened
from remote_claude.contracts.users import (
    InvitationRevoked,
    MemberInvited,
    MemberJoined,
    MemberRemoved,
    MemberRoleChanged,
    ModelChosen,
    MonthlyBudgetSet,
    OrgCreated,
    OrgDeleted,
    OrgErased,
    OrgPolicySet,
    OrgRestored,
    OrgResumed,
    OrgSettingsChanged,
    OrgSuspended,
    SecretRemoved,
    SecretStored,
    ServiceAccountCreated,
    ServiceAccountRemoved,
    StackConfigured,
    StackRemoved,
    TicketAnswered,
    TicketClosed,
    TicketOpened,
)
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import TableRow, append, reading
from remote_claude.eventsourcing.views import View
from remote_claude.users.projections.team_changes import TEAM_EVENTS

UNSAID = {
    "org",
    "hash",
    "name_hash",
    "by",
    "issued_by",
    "actor",
    "entitlements",
    "price_book",
    "quantities",
    "label_hashes",
    "secret_hash",
    "body_hash",
    "items",
    "terms",
}
"""Fields of events that the details leave out: shown elsewhere, secret, or long."""
BY = ("by", "issued_by", "owner")
"""Fields that name the person who did it, the first of them that an event has."""
BY_USER = (
    MemberJoined,
    TaskSubmitted,
    TaskCancellationRequested,
    TaskMessageSent,
    PermissionAnswered,
    PullRequestRequested,
    ScheduleCreated,
    ScheduleRemoved,
    TriggerCreated,
    TriggerRemoved,
    BatchSubmitted,
    BatchCancellationRequested,
    TaskShared,
    TaskUnshared,
    WebhookReplayRequested,
    ShellOpened,
    PortOpened,
)
"""Events whose `user` did it."""
OF_A_SUBMISSION = ("task", "agent", "team", "started_by", "continues")
"""What of a submission is shown: `rclaude show` has the rest."""


class Tables(TableRow, registry=registry()):
    """The tables of this view, apart from every other view's."""


class Entry(Tables, table=True):
    __tablename__ = "entry"
    __table_args__ = (Index("entry_by_org", "org", "position"),)
    position: int = Field(primary_key=True, sa_type=BigInteger)
    org: str
    at: str
    action: str
    person: str | None
    actor: str | None
    origin: str | None
    details: str


class AuditView(View):
    """Folds what people, keys and operators did in an organisation: to it, and to its tasks."""

    name: ClassVar[str] = "users_audit"
    version: ClassVar[int] = 8
    tables = Tables.metadata
    pace: ClassVar[float] = 0.1
    handles = (
        frozenset(
            e.type
            for e in (
                ApiKeyIssued,
                ApiKeyRevoked,
                AdjustmentPosted,
                CreditGranted,
                CustomerDetailsChanged,
                PlanChanged,
                PlanChangeScheduled,
                WebhookAdded,
                WebhookRemoved,
                TaskSubmitted,
                TaskCancellationRequested,
                TaskMessageSent,
                PermissionAnswered,
                PullRequestRequested,
                ScheduleCreated,
                ScheduleRemoved,
                TriggerCreated,
                TriggerRemoved,
                BatchSubmitted,
                BatchCancellationRequested,
                TaskShared,
                TaskUnshared,
                WebhookReplayRequested,
                ShellOpened,
                PortOpened,
                CouponRedeemed,
                StackConfigured,
                StackRemoved,
                OrgCreated,
                OrgSettingsChanged,
                OrgDeleted,
                OrgRestored,
                OrgErased,
                OrgSuspended,
                OrgResumed,
                MemberInvited,
                InvitationRevoked,
                MemberJoined,
                MemberRoleChanged,
                MemberRemoved,
                SecretStored,
                SecretRemoved,
                ModelChosen,
                OrgPolicySet,
                MonthlyBudgetSet,
                ServiceAccountCreated,
                ServiceAccountRemoved,
                TicketOpened,
                TicketAnswered,
                TicketClosed,
            )
        )
        | TEAM_EVENTS
    )

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        rows = [
            {
                "position": recorded.position,
                "org": recorded.organisation or recorded.event.org,
                "at": recorded.occurred_at,
                "action": recorded.type,
                "person": _person(recorded.event),
                "actor": recorded.context.actor,
                "origin": recorded.context.origin,
                "details": json.dumps(_details(recorded.event), sort_keys=True),
            }
            for recorded in events
        ]
        await append(connection, Entry, rows)


def _person(event: Any) -> str | None:
    """The person who did it, out of the event."""
    if isinstance(event, BY_USER):
        return str(event.user)
    return next((value for name in BY if isinstance(value := getattr(event, name, None), str)), None)


def _details(event: Any) -> dict[str, Any]:
    """The other fields of the event, without sealed ones."""
    if isinstance(event, TaskSubmitted):
        return {name: value for name in OF_A_SUBMISSION if (value := getattr(event, name)) is not None}
    unsaid = {*UNSAID, "user"} if isinstance(event, BY_USER) else UNSAID
    return {
        name: value
        for name, value in event.model_dump(mode="json").items()
        if name not in unsaid and value is not None and not isinstance(getattr(event, name), Sealed)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRow:
    """One thing that was done. `origin` is sealed: address and program."""

    position: int
    at: str
    action: str
    person: str | None
    actor: str | None
    origin: Sealed | None
    details: dict[str, Any]


async def entries(pool: Pool, org: str, before: int, limit: int) -> list[EntryRow]:
    """What was done in an organisation before a position, the latest first."""
    async with reading(pool, AuditView, org=org) as connection:
        found = await connection.execute(
            "SELECT * FROM entry WHERE org = %s AND position < %s ORDER BY position DESC LIMIT %s",
            [org, before, limit],
        )
        return [
            EntryRow(
                position=row["position"],
                at=row["at"],
                action=row["action"],
                person=row["person"],
                actor=row["actor"],
                origin=_origin(row["origin"]),
                details=json.loads(row["details"]),
            )
            for row in await found.fetchall()
        ]


def _origin(text: str | None) -> Sealed | None:
    key, _, box = (text or "").partition(":")
    return Sealed(key=key, box=box) if box else None
