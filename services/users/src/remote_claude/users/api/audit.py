"""What was done in an organisation."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from remote_claude.access.credentials import SERVICE_ACCOUNT
from remote_claude.access.teams import TEAM
from remote_claude.contracts.contexts import name_context, origin_context
from remote_claude.edge.caller import Caller
from remote_claude.edge.freshness import MAX_POSITION, Freshness
from remote_claude.edge.models import problems
from remote_claude.edge.paging import Limit
from remote_claude.eventsourcing.actors import OPERATOR
from remote_claude.runtime.service import Runtime
from remote_claude.users.api.support import TAGS, Support
from remote_claude.users.projections import directory, members
from remote_claude.users.projections.audit import AuditView, EntryRow, entries
from remote_claude.users.projections.teams import teams


class AuditEntry(BaseModel):
    """`action` is the event's type, `actor` the credential that was used, or `operator/...` at `rclaude-admin`.

    `kind` says what `user` is; it is null where nobody did it. Name, address and program are null once the person is
    erased or the service account removed, and where they are not known.
    """

    position: int
    at: str
    action: str
    kind: Literal["person", "service_account", "team", "operator"] | None
    user: str | None
    name: str | None
    actor: str | None
    address: str | None
    agent: str | None
    details: dict[str, Any]


class AuditPage(BaseModel):
    """`next` is the `before` of the page that follows; null on the last one."""

    entries: list[AuditEntry]
    next: int | None
    as_of: int


def add_routes(api: APIRouter, runtime: Runtime, support: Support) -> None:
    """The route `/v1/org/audit`."""
    fresh = Freshness(runtime.tail, lambda: runtime.projectors[AuditView.name])

    @api.get(
        "/v1/org/audit", tags=TAGS, dependencies=[Depends(fresh)], responses=problems(403, 404, 422, 503)
    )
    async def list_audit(
        principal: Caller,
        limit: Limit = 50,
        before: Annotated[int | None, Query(ge=0, le=MAX_POSITION)] = None,
    ) -> AuditPage:
        """Who did what in the organisation, from where, and when; the latest first."""
        rows = await entries(
            runtime.pool, principal.org, MAX_POSITION if before is None else before, limit + 1
        )
        found = []
        accounts = {a.id: a.name for a in await members.service_accounts(runtime.pool, principal.org)}
        accounts |= {t.id: t.name for t in await teams(runtime.pool, principal.org)}
        for row in rows[:limit]:
            sealed = accounts.get(row.person or "")
            if sealed is None and row.person and (person := await directory.person(runtime.pool, row.person)):
                sealed = person[0]
            name = await support.open(sealed, name_context(row.person or "")) if sealed else None
            text = await support.open(row.origin, origin_context(row.actor or ""))
            origin = json.loads(text) if text else {}
            found.append(
                AuditEntry(
                    position=row.position,
                    at=row.at,
                    action=row.action,
                    kind=_kind(row),
                    user=row.person,
                    name=name,
                    actor=row.actor,
                    address=origin.get("address"),
                    agent=origin.get("agent"),
                    details=row.details,
                )
            )
        following = rows[limit - 1].position if len(rows) > limit else None
        return AuditPage(entries=found, next=following, as_of=fresh.as_of)


def _kind(row: EntryRow) -> Literal["person", "service_account", "team", "operator"] | None:
    if row.person is not None:
        if row.person.startswith(TEAM):
            return "team"
        return "service_account" if row.person.startswith(SERVICE_ACCOUNT) else "person"
    return "operator" if row.actor is not None and row.actor.startswith(OPERATOR) else None
