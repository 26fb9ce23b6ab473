"""Links with which anyone may read one task: members make and revoke them."""

from __future__ import annotations

import hmac
from datetime import timedelta
from enum import Enum
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Path, Response
from pydantic import BaseModel, Field

from remote_claude.access import credential_secrets
from remote_claude.access.principal import Principal
from remote_claude.contracts.gateway import TaskShared
from remote_claude.contracts.refusals import NotCaughtUp
from remote_claude.edge.caller import Caller
from remote_claude.edge.models import problems
from remote_claude.eventsourcing import CommandHandler, Decider, stream_id
from remote_claude.eventsourcing.events import timestamp
from remote_claude.gateway.api import answers
from remote_claude.gateway.api.answer_models import OutputPage, TaskSummary
from remote_claude.gateway.api.answers import data_key
from remote_claude.gateway.api.edge import TaskId
from remote_claude.gateway.api.models import StrictRequest
from remote_claude.gateway.api.output import After, Frames, Results, file_answers
from remote_claude.gateway.domain import shares as domain
from remote_claude.gateway.domain.cursor import Cursor
from remote_claude.gateway.domain.lifecycle import State
from remote_claude.gateway.domain.refusals import ShareNotFound
from remote_claude.gateway.projections import shares as view
from remote_claude.gateway.projections.queries import TaskQueries, check_seen
from remote_claude.gateway.projections.shares import Share, SharesView
from remote_claude.runtime.ids import is_id
from remote_claude.runtime.service import Runtime

SHARE = Decider(domain.initial_state, domain.decide, domain.evolve)
WAIT_S = 5.0
"""How long a request waits for its own change to be visible."""
TAGS: list[str | Enum] = ["sharing"]

ShareId = Annotated[str, Path(max_length=64, description="The id of a link.")]
Secret = Annotated[
    str, Header(alias="Rclaude-Share", max_length=100, description="What follows `#` in the link.")
]


class ShareRequest(StrictRequest):
    """How long the link is good, in days."""

    days: int = Field(default=7, ge=1, le=90)


class ShareAnswer(BaseModel):
    """A link without its secret."""

    id: str
    created_by: str
    created_at: str
    expires_at: str


class CreatedShare(ShareAnswer):
    """`path` is that of the page, with the secret. It is shown this once."""

    path: str


class ShareList(BaseModel):
    """The links of a task that are neither expired nor revoked, the oldest first."""

    shares: list[ShareAnswer]


class SharedTask(BaseModel):
    """A task as its link shows it: without people, cost and runners. Texts are null once erased."""

    id: str
    state: State
    reason: str | None
    agent: str
    title: str | None
    prompt: str | None
    submitted_at: str
    started_at: str | None
    finished_at: str | None
    has_patch: bool
    expires_at: str


def add_routes(api: APIRouter, runtime: Runtime, queries: TaskQueries, results: Results) -> None:
    """The routes below `/v1/tasks/{task}/shares` and `/v1/shared`."""
    handler = CommandHandler(runtime.log, runtime.clock)

    async def seen(principal: Principal, task: str) -> None:
        found, _ = await queries.get(principal.org, task)
        check_seen(principal, found)

    async def handle(org: str, share: str, command: domain.Command) -> None:
        stream = stream_id("gateway", org, "share", share)
        position = (await handler.handle(SHARE, stream, command, subject=share)).position
        projector = runtime.projectors[SharesView.name]
        if not await projector.wait_for(position, WAIT_S):
            raise NotCaughtUp(position, projector.position)

    async def opened(share: str, secret: str) -> Share:
        """The link of this id and secret. Raises `ShareNotFound`."""
        found = await view.find(runtime.pool, share) if is_id("share", share) else None
        digest = credential_secrets.digest(secret)
        if found is None or not hmac.compare_digest(found.secret_hash, digest) or not _is_good(found):
            raise ShareNotFound
        return found

    def _is_good(share: Share) -> bool:
        return timestamp(runtime.clock()) < share.expires_at

    @api.post(
        "/v1/tasks/{task}/shares",
        tags=TAGS,
        status_code=HTTPStatus.CREATED,
        responses=problems(403, 404, 422, 503),
    )
    async def share_task(principal: Caller, task: TaskId, body: ShareRequest) -> CreatedShare:
        """Make a link with which anyone may read this task: its conversation, its output and its patch."""
        await seen(principal, task)
        secret, now = credential_secrets.generate(credential_secrets.SHARE), runtime.clock()
        shared = TaskShared(
            share=runtime.new_id("share"),
            org=principal.org,
            task=task,
            user=principal.user,
            secret_hash=credential_secrets.digest(secret),
            expires_at=timestamp(now + timedelta(days=body.days)),
        )
        await handle(principal.org, shared.share, domain.ShareTask(shared))
        return CreatedShare(
            id=shared.share,
            created_by=shared.user,
            created_at=timestamp(now),
            expires_at=shared.expires_at,
            path=f"/shared/{shared.share}#{secret}",
        )

    @api.get("/v1/tasks/{task}/shares", tags=TAGS, responses=problems(404, 503))
    async def list_task_shares(principal: Caller, task: TaskId) -> ShareList:
        """The links of a task."""
        await seen(principal, task)
        found = [one for one in await view.shares(runtime.pool, principal.org, task) if _is_good(one)]
        return ShareList(
            shares=[
                ShareAnswer(
                    id=one.share,
                    created_by=one.created_by,
                    created_at=one.created_at,
                    expires_at=one.expires_at,
                )
                for one in found
            ]
        )

    @api.delete(
        "/v1/tasks/{task}/shares/{share}",
        tags=TAGS,
        status_code=HTTPStatus.NO_CONTENT,
        responses=problems(404, 503),
    )
    async def remove_task_share(principal: Caller, task: TaskId, share: ShareId) -> None:
        """Revoke a link: it opens nothing from now on."""
        await seen(principal, task)
        if not is_id("share", share):
            raise ShareNotFound
        await handle(principal.org, share, domain.RevokeShare(task=task, user=principal.user))

    @api.get("/v1/shared/{share}", tags=TAGS, responses=problems(404, 503))
    async def get_shared_task(share: ShareId, rclaude_share: Secret = "") -> SharedTask:
        """The task of a link."""
        link = await opened(share, rclaude_share)
        task, _ = await queries.get(link.org, link.task)
        key = await data_key(runtime.keyring, link.org)
        shown: TaskSummary = answers.summary(task, key)
        current = task.progress.get(task.progress.attempt)
        return SharedTask(
            **shown.model_dump(
                include={
                    "id",
                    "state",
                    "reason",
                    "agent",
                    "title",
                    "submitted_at",
                    "started_at",
                    "finished_at",
                }
            ),
            prompt=answers.prompt(task, key),
            has_patch=bool(current and current.result and current.result.patch),
            expires_at=link.expires_at,
        )

    @api.get(
        "/v1/shared/{share}/output", tags=TAGS, response_model=OutputPage, responses=problems(404, 422, 503)
    )
    async def get_shared_output(
        share: ShareId, after: After = "0.0", limit: Frames = 200, rclaude_share: Secret = ""
    ) -> Response:
        """The frames of all attempts after a cursor, in order; also while the task runs."""
        link = await opened(share, rclaude_share)
        cursor = Cursor.parse(after)
        found, as_of = await queries.get(link.org, link.task)
        return await results.output(found, as_of, cursor, limit)

    @api.get(
        "/v1/shared/{share}/diff",
        tags=TAGS,
        response_class=Response,
        responses=file_answers("text/x-diff"),
    )
    async def get_shared_diff(share: ShareId, rclaude_share: Secret = "") -> Response:
        """The result as a patch."""
        link = await opened(share, rclaude_share)
        found, _ = await queries.get(link.org, link.task)
        name = f"{link.task}.patch"
        return await results.file(found, "patch", "text/x-diff; charset=utf-8", name)
