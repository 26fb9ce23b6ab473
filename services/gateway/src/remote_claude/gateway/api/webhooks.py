"""Webhooks over HTTP: an organisation's admins add, list and remove them, and see or repeat deliveries."""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, Field

from remote_claude.access.keyring import KeyErased
from remote_claude.contracts.contexts import webhook_url_context
from remote_claude.contracts.gateway import WebhookReplayRequested
from remote_claude.edge.caller import Caller
from remote_claude.edge.freshness import MAX_POSITION, Freshness
from remote_claude.edge.models import problems
from remote_claude.edge.paging import Limit
from remote_claude.gateway.api.models import StrictRequest
from remote_claude.gateway.domain.refusals import TaskNotFound
from remote_claude.gateway.domain.webhooks import (
    ENDS,
    Format,
    NothingToReplay,
    WebhookNotFound,
    WebhookUrlRefused,
    check_url,
)
from remote_claude.gateway.handlers import WebhookHandlers
from remote_claude.gateway.projections import webhooks as view
from remote_claude.gateway.projections.queries import TaskEvent, TaskQueries, check_seen
from remote_claude.outbound import AddressRefused, AllowedHosts, refuse_local
from remote_claude.outbound.http import PORTS
from remote_claude.runtime.ids import is_id
from remote_claude.runtime.service import Runtime

TAGS: list[str | Enum] = ["webhooks"]
HookId = Annotated[str, Path(description="The id of a webhook.")]


EVENTS_AT_ONCE = 200


class NewWebhook(StrictRequest):
    """`url` is where to post to: http:// or https://, of at most 2,048 characters.

    `format` `slack` posts a text for a Slack-compatible incoming webhook instead of a signed message.
    """

    url: str
    format: Format = "standard"


class WebhookCreated(BaseModel):
    """`secret` signs every delivery. No other answer shows it. `position` is that of its event."""

    id: str
    url: str
    secret: str
    position: int


class WebhookAnswer(BaseModel):
    """`url` is null once the organisation's data key is erased. `last` is the outcome of the last settled delivery."""

    id: str
    url: str | None
    format: Format
    added_at: str
    pending: int
    delivered: int
    failed: int
    last: str | None
    last_at: str | None


class WebhookList(BaseModel):
    webhooks: list[WebhookAnswer]
    as_of: int


class DeliveryAnswer(BaseModel):
    """The delivery of one task's end, or of an alert about a quota, without a task; and its outcome. `id` is its `webhook-id`.

    `at` and `position` are those of the outcome; of a pending delivery, those of the task's end. `status` is that of the
    last answer, `reason` says why the delivery failed.
    """

    id: str
    task: str | None
    outcome: Literal["pending", "delivered", "failed"]
    status: int | None
    reason: str | None
    at: str
    position: int


class ReplayRequest(StrictRequest):
    """The task whose end is posted once more."""

    task: str = Field(max_length=64)


class ReplayAnswer(BaseModel):
    """`position` is that of the request: deliveries that are read at it show the new one."""

    position: int


class DeliveryPage(BaseModel):
    """Newest first. `next` is what to send as `before` to go on, null at the end."""

    deliveries: list[DeliveryAnswer]
    next: int | None
    as_of: int


def add_routes(
    api: APIRouter, runtime: Runtime, handlers: WebhookHandlers, queries: TaskQueries, fresh: Freshness
) -> None:
    """The routes below `/v1/webhooks`."""
    reads: list[Any] = [Depends(fresh)]
    allowed = AllowedHosts.parse(runtime.settings.outbound_allow)

    async def known(org: str, hook: str) -> view.Webhook:
        found = await view.webhooks(runtime.pool, org=org, hook=hook) if is_id("hook", hook) else []
        if not found:
            raise WebhookNotFound(hook)
        return found[0]

    @api.post(
        "/v1/webhooks",
        tags=TAGS,
        status_code=HTTPStatus.CREATED,
        responses=problems(403, 422, 503),
    )
    async def create_webhook(principal: Caller, body: NewWebhook) -> WebhookCreated:
        """Add a webhook. It gets a request for each task of the organisation that ends from now on."""
        check_url(body.url)
        parts = urlsplit(body.url)
        try:
            refuse_local(parts.hostname or "", parts.port or PORTS[parts.scheme], allowed)
        except AddressRefused as error:
            raise WebhookUrlRefused(f"{error}.") from error
        hook = runtime.new_id("hook")
        secret, position = await handlers.add(hook, principal.org, body.url, body.format)
        return WebhookCreated(id=hook, url=body.url, secret=secret, position=position)

    @api.get("/v1/webhooks", tags=TAGS, dependencies=reads, responses=problems(403, 503))
    async def list_webhooks(principal: Caller) -> WebhookList:
        """The webhooks of the organisation, in the order in which they were added."""
        position = fresh.as_of
        found = await view.webhooks(runtime.pool, org=principal.org)
        return WebhookList(webhooks=[await _shown(runtime, hook) for hook in found], as_of=position)

    @api.delete(
        "/v1/webhooks/{webhook}",
        tags=TAGS,
        status_code=HTTPStatus.NO_CONTENT,
        responses=problems(403, 404, 503),
    )
    async def remove_webhook(principal: Caller, webhook: HookId) -> Response:
        """Remove a webhook. Deliveries that are still pending are dropped."""
        await handlers.remove(webhook, principal.org)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @api.get(
        "/v1/webhooks/{webhook}/deliveries",
        tags=TAGS,
        dependencies=reads,
        responses=problems(403, 404, 503),
    )
    async def list_webhook_deliveries(
        principal: Caller,
        webhook: HookId,
        before: Annotated[
            int, Query(ge=0, le=MAX_POSITION, description="Deliveries before this position")
        ] = MAX_POSITION,
        limit: Limit = 50,
    ) -> DeliveryPage:
        """What was delivered to a webhook, what failed, and what is pending, newest first."""
        position = fresh.as_of
        await known(principal.org, webhook)
        found = await view.deliveries(runtime.pool, webhook, before=before, limit=limit + 1)
        page = found[:limit]
        following = page[-1].position if len(found) > limit else None
        shown = [DeliveryAnswer.model_validate(one, from_attributes=True) for one in page]
        return DeliveryPage(deliveries=shown, next=following, as_of=position)

    @api.post(
        "/v1/webhooks/{webhook}/deliveries",
        tags=TAGS,
        status_code=HTTPStatus.ACCEPTED,
        responses=problems(403, 404, 409, 422, 503),
    )
    async def replay_webhook_delivery(
        principal: Caller, webhook: HookId, body: ReplayRequest
    ) -> ReplayAnswer:
        """Post the end of a task to a webhook once more, under a `webhook-id` of its own."""
        await known(principal.org, webhook)
        task = body.task
        if not is_id("task", task):
            raise TaskNotFound(task)
        found, _ = await queries.get(principal.org, task)
        check_seen(principal, found)
        if (end := await _end(principal.org, task)) is None:
            raise NothingToReplay(task)
        position = await handlers.replay(
            WebhookReplayRequested(
                hook=webhook,
                org=principal.org,
                user=principal.user,
                task=task,
                state=ENDS[end.type],
                event=end.event_id,
                position=end.position,
                ended_at=end.occurred_at,
            )
        )
        return ReplayAnswer(position=position)

    async def _end(org: str, task: str) -> TaskEvent | None:
        """The event that ended a task."""
        after = 0
        while True:
            page, _ = await queries.events(org, task, after, EVENTS_AT_ONCE)
            for event in page:
                if event.type in ENDS:
                    return event
            if len(page) < EVENTS_AT_ONCE:
                return None
            after = page[-1].position


async def _shown(runtime: Runtime, hook: view.Webhook) -> WebhookAnswer:
    try:
        url = await runtime.keyring.open(hook.url, webhook_url_context(hook.hook))
    except KeyErased:
        url = None
    return WebhookAnswer(
        id=hook.hook,
        url=url,
        format=hook.format,
        added_at=hook.added_at,
        pending=hook.pending,
        delivered=hook.delivered,
        failed=hook.failed,
        last=hook.last,
        last_at=hook.last_at,
    )
