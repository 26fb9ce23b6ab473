"""Questions to the views `gateway_batches` and `gateway_tasks` about batches and their items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from remote_claude.access.principal import Principal
from remote_claude.contracts import Sealed
from remote_claude.contracts.contexts import attempt_detail_context, batch_detail_context
from remote_claude.edge.paging import decode_cursor, encode_cursor
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import reading
from remote_claude.gateway.domain import batches as domain
from remote_claude.gateway.projections.batches import BatchesView

LAST_POSITION = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch as the view has it; texts are sealed."""

    batch: str
    org: str
    position: int
    created_by: str
    created_at: str
    name: Sealed
    items: str
    size: int
    max_parallel: int | None
    stop_on_failure: bool
    cancelled: bool
    outcome: domain.Outcome | None
    ended_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(domain.Item):
    """An item with what is known of its end. `sealed_detail` opens in the context `detail_context`."""

    reason: str | None = None
    detail: str | None = None
    sealed_detail: Sealed | None = None
    detail_context: str = ""
    exit_code: int | None = None


ITEMS = """
SELECT i.batch, i.number, i.task, i.reason AS refused, i.detail AS refused_detail,
       t.state, t.reason, t.detail, t.exit_code,
       t.attempts -> -1 -> 'detail' AS last_detail, (t.attempts -> -1 ->> 'number')::int AS last_attempt
FROM item i LEFT JOIN gateway_tasks.task t USING (task) WHERE i.batch = ANY (%s) ORDER BY i.number
"""


async def running(pool: Pool) -> list[Batch]:
    """The batches of all organisations that have not ended."""
    async with reading(pool, BatchesView, org=None) as connection:
        found = await connection.execute("SELECT * FROM batch WHERE outcome IS NULL ORDER BY position")
        return [_of(row) for row in await found.fetchall()]


async def get(pool: Pool, org: str, batch: str) -> Batch | None:
    """A batch of an organisation."""
    async with reading(pool, BatchesView, org=org) as connection:
        found = await connection.execute("SELECT * FROM batch WHERE org = %s AND batch = %s", [org, batch])
        rows = await found.fetchall()
        return _of(rows[0]) if rows else None


async def page(pool: Pool, who: Principal, limit: int, cursor: str | None) -> tuple[list[Batch], str | None]:
    """Batches, newest first, and the cursor of what follows; a person's own where they do not see all. Raises `InvalidCursor`."""
    before = decode_cursor(cursor)[0] if cursor is not None else LAST_POSITION
    async with reading(pool, BatchesView, org=who.org) as connection:
        found = await connection.execute(
            "SELECT * FROM batch WHERE org = %s AND position < %s AND created_by = coalesce(%s, created_by)"
            " ORDER BY position DESC LIMIT %s",
            [who.org, before, None if who.sees_all else who.user, limit + 1],
        )
        rows = [_of(row) for row in await found.fetchall()]
    batches = rows[:limit]
    following = encode_cursor(batches[-1].position, batches[-1].batch) if len(rows) > limit else None
    return batches, following


async def items(pool: Pool, batches: Sequence[Batch], org: str | None) -> dict[str, list[Found]]:
    """All items of these batches, in their order."""
    async with reading(pool, BatchesView, org=org) as connection:
        found = await connection.execute(ITEMS, [[batch.batch for batch in batches]])
        known = {(row["batch"], row["number"]): row for row in await found.fetchall()}
    return {
        batch.batch: [_found(number, known.get((batch.batch, number))) for number in range(1, batch.size + 1)]
        for batch in batches
    }


def _of(row: dict[str, Any]) -> Batch:
    return Batch(**row | {"name": Sealed(**row["name"])})


def _found(number: int, row: dict[str, Any] | None) -> Found:
    if row is None:
        return Found(number=number)
    if row["task"] is None:
        return Found(
            number=number,
            state="refused",
            reason=row["refused"],
            sealed_detail=_sealed(row["refused_detail"]),
            detail_context=batch_detail_context(row["batch"], number),
        )
    return Found(
        number=number,
        state=row["state"] or "submitted",
        task=row["task"],
        reason=row["reason"],
        detail=row["detail"],
        sealed_detail=_sealed(row["last_detail"]),
        detail_context=attempt_detail_context(row["task"], row["last_attempt"] or 0),
        exit_code=row["exit_code"],
    )


def _sealed(value: dict[str, Any] | None) -> Sealed | None:
    return Sealed(**value) if value is not None else None
