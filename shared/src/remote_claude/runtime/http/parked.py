"""For the operator: the events that the views of this process could not fold, and trying them again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from remote_claude.edge.caller import Caller
from remote_claude.edge.models import problems
from remote_claude.edge.problems import Problem
from remote_claude.eventsourcing.errors import RebuildInProgress
from remote_claude.eventsourcing.postgres.parking import (
    NotParked,
    OtherVersion,
    ParkedEvent,
    parked_events,
    retry,
)
from remote_claude.eventsourcing.views import View
from remote_claude.runtime.service import Runtime, Service


class ParkedAnswer(BaseModel):
    """An event that a view could not fold. `reason` is the error, or says that it waits behind an earlier one."""

    view: str
    position: int
    id: str
    type: str
    version: int
    aggregate: str
    reason: str


class ParkedList(BaseModel):
    """By view, then in log order."""

    parked: list[ParkedAnswer]


class RetryRequest(BaseModel):
    """`position` names one event, which is tried with what waits behind it; without it all that is parked in the view."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    view: Annotated[str, Field(max_length=64)]
    position: Annotated[int | None, Field(ge=1)] = None


class RetryAnswer(BaseModel):
    """Positions that are folded now, and what is parked still."""

    folded: list[int]
    parked: list[ParkedAnswer]


def add_routes(app: FastAPI, runtime: Runtime, services: Sequence[Service]) -> None:
    """The routes `/v1/status/parked` and `/v1/status/parked/retry`."""
    views = {view.name: view for service in services for view in service.views}

    @app.get("/v1/status/parked", tags=["operations"], responses=problems(403, 503))
    async def list_parked(_: Caller) -> ParkedList:
        """What the views of this process could not fold."""
        found = [
            _shown(view, one)
            for name in sorted(views)
            for view in (views[name],)
            for one in await parked_events(runtime.pool, view)
        ]
        return ParkedList(parked=found)

    @app.post("/v1/status/parked/retry", tags=["operations"], responses=problems(403, 404, 409, 422, 503))
    async def retry_parked(_: Caller, body: RetryRequest) -> RetryAnswer:
        """Fold what is parked in a view again, in log order. What still can't be folded stays parked."""
        view = views.get(body.view)
        if view is None:
            raise Problem(404, "view_not_found", f"There is no view {body.view!r} in this process.")
        try:
            done = await retry(view, runtime.pool, runtime.log, position=body.position)
        except (NotParked, OtherVersion, RebuildInProgress) as error:
            raise Problem(409, error.code, f"{error}.") from error
        return RetryAnswer(folded=list(done.folded), parked=[_shown(view, one) for one in done.parked])


def _shown(view: View, one: ParkedEvent) -> ParkedAnswer:
    return ParkedAnswer(
        view=view.name, position=one.position, id=one.event_id, type=one.type, version=one.version,
        aggregate=one.stream, reason=one.reason,
    )  # fmt: skip
