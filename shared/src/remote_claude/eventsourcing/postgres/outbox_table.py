"""What is to be done outside: rows that a view's fold writes, and that the outcome's event takes away again.

A view with side effects has a table of them, and folds it like any other:

    class DeliveryRow(OutboxRow, Tables, table=True):
        __tablename__ = "delivery"
        __table_args__ = (Index("delivery_by_lane", "lane", "position"),)

    async def apply(self, connection, events):
        ...
        await append(connection, DeliveryRow, [effect(event, "tell", lane=..., stream=..., payload={...})])
        await delete(connection, DeliveryRow, [outcome.event_id for outcome in outcomes])

So the table holds what has not been settled, for a rebuilt view as for the live one. Attempts and pauses are not in it:
the log does not know them. A fold can only say what is to be done; `effects` does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from remote_claude.eventsourcing.events import RecordedEvent, caused_id


class OutboxRow(SQLModel):
    """The columns of an outbox. A table that has them needs an index on `lane, position`.

    `key` follows from the cause: it is what the receiver tells a repetition by, and the id of the outcome's event.
    `lane` is who shares one receiver; `stream` is the aggregate that the outcome will stand in. The rest but `payload`
    is of the event that caused it.
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
