"""The view `gateway_webhooks`: the hooks, and the deliveries that have no outcome yet. Reads no ciphertext."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from psycopg import AsyncConnection
from sqlalchemy import BigInteger, Index, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import registry
from sqlmodel import Field

from remote_claude.contracts import Sealed
from remote_claude.contracts.billing import QuotaThresholdReached
from remote_claude.contracts.gateway import (
    QuotaAlertDelivered,
    QuotaAlertFailed,
    WebhookAdded,
    WebhookDelivered,
    WebhookFailed,
    WebhookOutcome,
    WebhookRemoved,
    WebhookReplayRequested,
)
from remote_claude.contracts.runner import PermissionRequested
from remote_claude.eventsourcing.events import RecordedEvent, stream_id
from remote_claude.eventsourcing.postgres.outbox_table import EffectChanges, OutboxRow, effect
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import TableRow, append, delete, reading, upsert
from remote_claude.eventsourcing.views import View
from remote_claude.gateway.domain.webhooks import ENDS, Format


class Tables(TableRow, registry=registry()):
    """The tables of this view, apart from every other view's."""


class WebhookRow(Tables, table=True):
    """A hook, until it is removed. `last` is the outcome of the last settled delivery."""

    __tablename__ = "webhook"
    hook: str = Field(primary_key=True)
    org: str = Field(index=True)
    position: int = Field(sa_type=BigInteger)
    added_at: str
    url: dict[str, Any] = Field(sa_type=JSONB)
    secret: dict[str, Any] = Field(sa_type=JSONB)
    format: str
    delivered: int = Field(sa_type=BigInteger)
    failed: int = Field(sa_type=BigInteger)
    last: str | None
    last_at: str | None


class DeliveryRow(OutboxRow, Tables, table=True):
    """The end of a task, a permission that its agent asks for, or an alert about a quota, to be delivered to a hook.

    Its lane is the hook."""

    __tablename__ = "delivery"
    __table_args__ = (Index("delivery_by_lane", "lane", "position"),)


class OutcomeRow(Tables, table=True):
    """The outcome of a delivery to a hook that is not removed. `event` is the delivery's key."""

    __tablename__ = "outcome"
    __table_args__ = (Index("outcome_by_hook", "hook", "position"),)

    event: str = Field(primary_key=True)
    hook: str
    task: str | None
    outcome: str
    status: int | None
    reason: str | None
    at: str
    position: int = Field(sa_type=BigInteger)


class WebhooksView(View):
    name: ClassVar[str] = "gateway_webhooks"
    version: ClassVar[int] = 6
    tables: ClassVar[MetaData] = Tables.metadata
    handles: ClassVar[frozenset[str]] = frozenset(
        {event.type for event in (WebhookAdded, WebhookRemoved, WebhookReplayRequested)}
        | {WebhookDelivered.type, WebhookFailed.type, PermissionRequested.type, *ENDS}
        | {QuotaThresholdReached.type, QuotaAlertDelivered.type, QuotaAlertFailed.type}
    )
    pace: ClassVar[float] = 0.1  # as often as the outbox looks

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        orgs = {recorded.event.org for recorded in events}
        found = await connection.execute("SELECT * FROM webhook WHERE org = ANY (%s)", [list(orgs)])
        names = [column.name for column in found.description or ()]
        hooks = {row[0]: dict(zip(names, row, strict=True)) for row in await found.fetchall()}
        touched: set[str] = set()
        deliveries = EffectChanges(DeliveryRow)
        outcomes: list[dict[str, Any]] = []
        for recorded in events:
            match recorded.event:
                case WebhookAdded() as added:
                    hooks[added.hook] = _hook(added, recorded)
                    touched.add(added.hook)
                case WebhookRemoved(hook=hook):
                    hooks.pop(hook, None)
                    touched.add(hook)
                    deliveries.drop_lane(hook)
                    outcomes = [row for row in outcomes if row["hook"] != hook]
                case WebhookReplayRequested() as replay:
                    if replay.hook in hooks:
                        deliveries.add(_replay(replay, recorded))
                case WebhookOutcome() | QuotaAlertDelivered() | QuotaAlertFailed() as outcome:
                    deliveries.settle(recorded)
                    if (row := hooks.get(outcome.hook)) is not None:
                        _settle(row, outcome, recorded.occurred_at)
                        outcomes.append(_outcome(outcome, recorded))
                        touched.add(outcome.hook)
                case _:
                    for row in _deliveries(hooks.values(), recorded):
                        deliveries.add(row)
        gone = touched - hooks.keys()
        await upsert(connection, WebhookRow, [hooks[hook] for hook in sorted(touched - gone)])
        await deliveries.write(connection)
        await append(connection, OutcomeRow, outcomes)
        if gone:
            await delete(connection, WebhookRow, sorted(gone))
            await connection.execute("DELETE FROM delivery WHERE lane = ANY (%s)", [sorted(gone)])
            await connection.execute("DELETE FROM outcome WHERE hook = ANY (%s)", [sorted(gone)])


def _hook(added: WebhookAdded, recorded: RecordedEvent) -> dict[str, Any]:
    return {
        "hook": added.hook,
        "org": added.org,
        "position": recorded.position,
        "added_at": recorded.occurred_at,
        "url": added.url.model_dump(),
        "secret": added.secret.model_dump(),
        "format": added.format,
        "delivered": 0,
        "failed": 0,
        "last": None,
        "last_at": None,
    }


Outcome = WebhookOutcome | QuotaAlertDelivered | QuotaAlertFailed


def _settle(hook: dict[str, Any], outcome: Outcome, at: str) -> None:
    match outcome:
        case WebhookDelivered(status=status) | QuotaAlertDelivered(status=status):
            hook |= {"delivered": hook["delivered"] + 1, "last": f"delivered ({status})", "last_at": at}
        case WebhookFailed(reason=reason) | QuotaAlertFailed(reason=reason):
            hook |= {"failed": hook["failed"] + 1, "last": reason, "last_at": at}


def _outcome(outcome: Outcome, recorded: RecordedEvent) -> dict[str, Any]:
    failed = isinstance(outcome, WebhookFailed | QuotaAlertFailed)
    return {
        "event": recorded.event_id,
        "hook": outcome.hook,
        "task": getattr(outcome, "task", None),
        "outcome": "failed" if failed else "delivered",
        "status": getattr(outcome, "status", None),
        "reason": getattr(outcome, "reason", None),
        "at": recorded.occurred_at,
        "position": recorded.position,
    }


def _replay(replay: WebhookReplayRequested, recorded: RecordedEvent) -> dict[str, Any]:
    payload = replay.model_dump(include={"task", "org", "state", "event", "position", "ended_at"})
    stream = stream_id("gateway", replay.org, "task", replay.task)
    return effect(recorded, f"webhook {replay.hook}", lane=replay.hook, stream=stream, payload=payload)


def _deliveries(hooks: Iterable[dict[str, Any]], recorded: RecordedEvent) -> list[dict[str, Any]]:
    """One for each hook that its organisation had when it happened, however late that is folded."""
    event = recorded.event
    receivers = [
        row["hook"] for row in hooks if row["org"] == event.org and row["position"] < recorded.position
    ]
    if not receivers:  # as a rule: most organisations have none
        return []
    if isinstance(event, QuotaThresholdReached):
        alert = event.model_dump(mode="json") | {"event": recorded.event_id, "position": recorded.position}
        return [
            effect(
                recorded,
                f"webhook {hook}",
                lane=hook,
                stream=stream_id("gateway", event.org, "webhook", hook),
                payload=alert,
            )
            for hook in receivers
        ]
    asked = recorded.type == PermissionRequested.type
    payload = {
        "task": event.task,
        "org": event.org,
        "state": "running" if asked else ENDS[recorded.type],
        "event": recorded.event_id,
        "position": recorded.position,
    } | ({"permission": event.request, "tool": event.tool} if asked else {})
    stream = stream_id("gateway", event.org, "task", event.task)
    return [
        effect(recorded, f"webhook {hook}", lane=hook, stream=stream, payload=payload) for hook in receivers
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A hook as the view has it. `pending` is the number of deliveries without an outcome."""

    hook: str
    org: str
    position: int
    added_at: str
    url: Sealed
    secret: Sealed
    format: Format
    delivered: int
    failed: int
    last: str | None
    last_at: str | None
    pending: int


async def webhooks(pool: Pool, *, org: str | None = None, hook: str | None = None) -> list[Webhook]:
    """All of them, those of an organisation, or one, in the order in which they were added."""
    async with reading(pool, WebhooksView, org=org) as connection:
        found = await connection.execute(
            "SELECT w.*, (SELECT count(*) FROM delivery WHERE lane = w.hook) AS pending FROM webhook w "
            "WHERE org = COALESCE(%s, org) AND hook = COALESCE(%s, hook) ORDER BY position",
            [org, hook],
        )
        return [
            Webhook(**row | {"url": Sealed(**row["url"]), "secret": Sealed(**row["secret"])})
            for row in await found.fetchall()
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery to a hook: `outcome` is pending, delivered or failed. `at` and `position` are the outcome's, otherwise the end's.

    An alert about a quota has no task."""

    id: str
    task: str | None
    outcome: str
    status: int | None
    reason: str | None
    at: str
    position: int


DELIVERIES = """
(SELECT event AS id, task, outcome, status, reason, at, position
 FROM outcome WHERE hook = %(hook)s AND position < %(before)s ORDER BY position DESC LIMIT %(limit)s)
UNION ALL
(SELECT key, payload ->> 'task', 'pending', NULL, NULL, occurred_at, position
 FROM delivery WHERE lane = %(hook)s AND position < %(before)s ORDER BY position DESC LIMIT %(limit)s)
ORDER BY position DESC LIMIT %(limit)s
"""


async def deliveries(pool: Pool, hook: str, *, before: int, limit: int) -> list[Delivery]:
    """What was delivered to a hook, what failed and what is pending, newest first, before a position."""
    async with reading(pool, WebhooksView, org=None) as connection:
        found = await connection.execute(DELIVERIES, {"hook": hook, "before": before, "limit": limit})
        return [Delivery(**row) for row in await found.fetchall()]
