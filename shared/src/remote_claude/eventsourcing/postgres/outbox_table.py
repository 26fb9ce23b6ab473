"""Side effects that still have to be done: rows that a view's fold adds, and that the outcome's event removes.

A view with side effects has a table of them, and folds it like any other:

    class DeliveryRow(OutboxRow, Tables, table=True):
        __tablename__ = "delivery"
        __table_args__ = (Index("delivery_by_lane", "lane", "position"),)

    async def apply(self, connection, events):
        effects = EffectChanges(DeliveryRow)
        for recorded in events:
            ...
            effects.add(effect(recorded, "post", lane=..., stream=..., payload={...}))  # for an event that causes one
            effects.settle(recorded)  # for an outcome
        await effects.write(connection)

So the table holds what has not been settled, for a rebuilt view as for the live one. Attempts and pauses are not in it:
the log does not know them. A fold can only say what is to be done; `effects` does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import AsyncConnection
from sqlalchemy import BigInteger
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from remote_claude.eventsourcing.events import RecordedEvent, caused_id
from remote_claude.eventsourcing.postgres.tables import TableRow, append, delete


class OutboxRow(TableRow):
    """The columns of an outbox. A table that has them needs an index on `lane, position`.

    `key` follows from the cause: the receiver recognises a repetition by it, and it is the id of the outcome's event.
    Rows with the same `lane` share a receiver. `stream` is the aggregate that the outcome is appended to. The other
    columns, `payload` apart, come from the event that caused it.
    """

    key: str = Field(primary_key=True)
    lane: str
    stream: str
    cause: str
    position: int = Field(sa_type=BigInteger)
    occurred_at: str
    subject: str | None
    correlation_id: str | None
    traceparent: str | None
    payload: dict[str, Any] = Field(sa_type=JSONB)


def effect(
    cause: RecordedEvent, handler: str, n: int = 0, *, lane: str, stream: str, payload: Mapping[str, Any]
) -> dict[str, Any]:
    """The row of the n-th effect that `handler` wants because of an event: the same at every fold."""
    return {
        "key": caused_id(cause.event_id, handler, n),
        "lane": lane,
        "stream": stream,
        "cause": cause.event_id,
        "position": cause.position,
        "occurred_at": cause.occurred_at,
        "subject": cause.subject,
        "correlation_id": cause.correlation_id,
        "traceparent": cause.traceparent,
        "payload": dict(payload),
    }


class EffectChanges:
    """What one batch of events changes in an outbox table."""

    def __init__(self, table: type[OutboxRow]) -> None:
        self._table = table
        self._new: dict[str, dict[str, Any]] = {}
        self._settled: list[str] = []

    def add(self, row: dict[str, Any]) -> None:
        """An effect to do, as `effect` makes it."""
        self._new[row["key"]] = row

    def settle(self, outcome: RecordedEvent) -> None:
        """The effect with this outcome is done, or given up."""
        if self._new.pop(outcome.event_id, None) is None:
            self._settled.append(outcome.event_id)

    def drop_lane(self, lane: str) -> None:
        """Nothing of this batch is to be done in a lane."""
        self._new = {key: row for key, row in self._new.items() if row["lane"] != lane}

    async def write(self, connection: AsyncConnection[Any]) -> None:
        """Apply the changes to the table."""
        await append(connection, self._table, self._new.values())
        await delete(connection, self._table, self._settled)
