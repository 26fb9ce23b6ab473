"""Batches over HTTP: many tasks in one request, with a state, a bill and an end of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, Field, ValidationError

from remote_claude.access.keyring import DataKey, KeyErased
from remote_claude.access.principal import Principal
from remote_claude.contracts import Sealed
from remote_claude.contracts.contexts import batch_name_context
from remote_claude.contracts.refusals import NotCaughtUp
from remote_claude.edge.bodies import bounded_body
from remote_claude.edge.caller import Caller
from remote_claude.edge.freshness import POSITION_WAIT_S, Freshness, MinPosition
from remote_claude.edge.invalid_fields import words
from remote_claude.edge.models import json_body, problems
from remote_claude.edge.paging import CursorText, Limit
from remote_claude.edge.problems import Problem
from remote_claude.gateway.api import models
from remote_claude.gateway.api.answers import data_key
from remote_claude.gateway.api.batch_handlers import Batches
from remote_claude.gateway.api.submissions import check_prompt, parse_as
from remote_claude.gateway.domain.batches import ItemState
from remote_claude.gateway.domain.refusals import BatchInvalid, BatchNotFound
from remote_claude.gateway.projections import batch_queries as view
from remote_claude.gateway.projections.batches import BatchesView
from remote_claude.gateway.projections.queries import TaskQueries
from remote_claude.runtime.ids import is_id
from remote_claude.runtime.objects import ObjectNotFound
from remote_claude.runtime.service import Runtime

MAX_ITEMS = 500
MAX_BODY = 8 * 1024 * 1024
TOO_LARGE = Problem(
    413, "body_too_large", f"A batch is at most {MAX_BODY} bytes. Put what is long into the repository."
)
IDEMPOTENCY_KEY = Header(
    alias="Idempotency-Key",
    pattern="^[!-~]{1,255}$",
    description="Makes it safe to send the request again: the same key is the same batch.",
)
State = Literal["running", "succeeded", "failed", "cancelled"]


class BatchTask(models.TaskOptions):
    """What holds for all items. An item that has a field of its own goes by that; labels are joined."""

    prompt: models.Text | None = None
    agent: models.Name | None = None


class BatchItem(BatchTask):
    """A task of the batch. `key` names it there; its number does where it has none."""

    key: Annotated[models.LabelValue, Field(min_length=1)] | None = None


class BatchRequest(models.StrictRequest):
    """Many tasks: one per prompt, one per repository, or both."""

    name: Annotated[models.LabelValue, Field(min_length=1)] | None = None
    task: BatchTask = BatchTask()
    items: list[BatchItem] = Field(min_length=1, max_length=MAX_ITEMS)
    max_parallel: int | None = Field(
        default=None, ge=1, description="So many of its tasks are submitted and not ended at a time."
    )
    stop_on_failure: bool = Field(
        default=False,
        description="The first item that fails cancels the tasks that run, and no more are submitted.",
    )


class SubmittedBatch(BaseModel):
    """`is_new` is false for a batch that was submitted before with the same `Idempotency-Key`."""

    id: str
    size: int
    is_new: bool
    position: int


class BatchAnswer(BaseModel):
    """A batch. `states` counts its items by state; those that have no task yet are `not_submitted`."""

    id: str
    name: str | None
    state: State
    cancelled: bool
    created_by: str
    created_at: str
    ended_at: str | None
    size: int
    max_parallel: int | None
    stop_on_failure: bool
    states: dict[str, int]


class BatchItemAnswer(BaseModel):
    """An item. `task` is null until it is submitted, and where it was refused for `reason`."""

    number: int
    key: str | None
    task: str | None
    state: ItemState
    reason: str | None
    detail: str | None
    exit_code: int | None


class BatchDetails(BatchAnswer):
    """A batch with its items, in their order."""

    items: list[BatchItemAnswer]
    as_of: int


class BatchPage(BaseModel):
    """Batches of the organisation, newest first."""

    batches: list[BatchAnswer]
    next: str | None
    as_of: int


class CancelledBatch(BaseModel):
    """Asked for: tasks that run end, and no more are submitted."""

    id: str
    position: int


def add_routes(
    api: APIRouter, runtime: Runtime, fresh: Freshness, queries: TaskQueries, batches: Batches
) -> None:
    """The routes under `/v1/batches`."""

    async def reach(position: int | None) -> int:
        """Wait for both views, and return how far they are."""
        await fresh(position)
        if position is not None:
            await queries.caught_up(position, POSITION_WAIT_S)
        return fresh.as_of

    async def shown_at(position: int) -> None:
        if not await runtime.projectors[BatchesView.name].wait_for(position, POSITION_WAIT_S):
            raise NotCaughtUp(position, fresh.as_of)

    @api.post(
        "/v1/batches",
        status_code=HTTPStatus.CREATED,
        responses=problems(403, 409, 410, 413, 422, 503),
        openapi_extra={"requestBody": json_body(BatchRequest)},
        tags=["batches"],
    )
    async def submit_batch(
        principal: Caller,
        request: Request,
        idempotency_key: Annotated[str | None, IDEMPOTENCY_KEY] = None,
    ) -> SubmittedBatch:
        """Submit many tasks in one request. They start by themselves, at most `max_parallel` at a time."""
        body = parse_as(BatchRequest, await bounded_body(request, MAX_BODY, TOO_LARGE))
        id, position, is_new = await batches.submit(
            principal,
            body.name,
            _requests(body),
            idempotency_key,
            max_parallel=body.max_parallel,
            stop_on_failure=body.stop_on_failure,
        )
        await shown_at(position)
        return SubmittedBatch(id=id, size=len(body.items), is_new=is_new, position=position)

    @api.get("/v1/batches", responses=problems(422, 503), tags=["batches"])
    async def list_batches(
        principal: Caller, limit: Limit = 50, cursor: CursorText = None, min_position: MinPosition = None
    ) -> BatchPage:
        """The organisation's batches, newest first."""
        as_of = await reach(min_position)
        found, following = await view.page(runtime.pool, principal, limit, cursor)
        items = await view.items(runtime.pool, found, principal.org)
        key = await data_key(runtime.keyring, principal.org)
        shown = [_answer(batch, items[batch.batch], key) for batch in found]
        return BatchPage(batches=shown, next=following, as_of=as_of)

    @api.get("/v1/batches/{batch}", responses=problems(404, 422, 503), tags=["batches"])
    async def get_batch(batch: str, principal: Caller, min_position: MinPosition = None) -> BatchDetails:
        """A batch with the state of each item. Its cost is at `/v1/batches/{batch}/bill`."""
        as_of = await reach(min_position)
        found = await _known(batch, principal)
        items = (await view.items(runtime.pool, [found], principal.org))[batch]
        key = await data_key(runtime.keyring, principal.org)
        try:
            keys: list[str | None] = [key for key, _ in await batches.items(found)]
        except ObjectNotFound:
            keys = [None] * found.size
        shown = [_item(item, item_key, key) for item, item_key in zip(items, keys, strict=True)]
        return BatchDetails(**dict(_answer(found, items, key)), items=shown, as_of=as_of)

    @api.post(
        "/v1/batches/{batch}/cancel",
        status_code=HTTPStatus.ACCEPTED,
        responses=problems(404, 409, 503),
        tags=["batches"],
    )
    async def cancel_batch(batch: str, principal: Caller) -> CancelledBatch:
        """End what runs of a batch, and submit no more of it. Asking again changes nothing."""
        await _known(batch, principal)
        position = await batches.cancel(principal, batch)
        await shown_at(position)
        return CancelledBatch(id=batch, position=position)

    async def _known(batch: str, principal: Principal) -> view.Batch:
        if not is_id("batch", batch):
            raise BatchNotFound(batch)
        found = await view.get(runtime.pool, principal.org, batch)
        if found is None:
            await fresh.reach(runtime.tail.position)  # it may be newer than the view
            found = await view.get(runtime.pool, principal.org, batch)
        if found is None or not principal.sees(found.created_by, None):
            raise BatchNotFound(batch)
        return found


def _requests(body: BatchRequest) -> list[tuple[str, models.SubmitRequest]]:
    """The key and the whole request of each item. Raises `BatchInvalid`, `Problem`."""
    shared = body.task.model_dump(exclude_unset=True)
    found = list[tuple[str, models.SubmitRequest]]()
    for number, item in enumerate(body.items, 1):
        own = item.model_dump(exclude_unset=True, exclude={"key"})
        labels = {**shared.get("labels", {}), **own.get("labels", {})}
        fields: dict[str, Any] = {**shared, **own, **({"labels": labels} if labels else {})}
        try:
            request = models.SubmitRequest.model_validate(fields)
        except ValidationError as error:  # such as one without a prompt
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise BatchInvalid(number, f"{place} {words(first)}") from error
        check_prompt(request.prompt)
        if RESERVED & request.labels.keys() or len(request.labels) + len(RESERVED) > models.MAX_LABELS:
            raise BatchInvalid(number, "the labels `batch` and `batch-item` are set by the batch itself")
        found.append((item.key or str(number), request))
    keys = Counter(key for key, _ in found)
    for number, (key, _) in enumerate(found, 1):
        if keys[key] > 1:
            raise BatchInvalid(number, f"the key {key!r} is that of another item too")
    return found


RESERVED = frozenset({"batch", "batch-item"})
"""Labels of its tasks."""


def _answer(batch: view.Batch, items: Sequence[view.Found], key: DataKey | None) -> BatchAnswer:
    return BatchAnswer(
        id=batch.batch,
        name=_open(key, batch.name, batch_name_context(batch.batch)),
        state=batch.outcome or "running",
        cancelled=batch.cancelled,
        created_by=batch.created_by,
        created_at=batch.created_at,
        ended_at=batch.ended_at,
        size=batch.size,
        max_parallel=batch.max_parallel,
        stop_on_failure=batch.stop_on_failure,
        states=dict(sorted(Counter(item.state for item in items).items())),
    )


def _item(item: view.Found, item_key: str | None, key: DataKey | None) -> BatchItemAnswer:
    return BatchItemAnswer(
        number=item.number,
        key=item_key,
        task=item.task,
        state=item.state,
        reason=item.reason,
        detail=item.detail or _open(key, item.sealed_detail, item.detail_context),
        exit_code=item.exit_code,
    )


def _open(key: DataKey | None, sealed: Sealed | None, context: str) -> str | None:
    try:
        return key.open(sealed, context) if key and sealed else None
    except KeyErased:
        return None
