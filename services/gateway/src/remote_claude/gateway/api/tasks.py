"""The task resource: submit, list, look at, cancel."""

from __future__ import annotations

import re
from enum import Enum
from http import HTTPStatus
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from remote_claude.contracts.contexts import message_context, permission_context
from remote_claude.contracts.refusals import NotCaughtUp
from remote_claude.edge.caller import Caller, admitted, remember
from remote_claude.edge.freshness import MAX_POSITION, Freshness
from remote_claude.edge.models import json_body, problems
from remote_claude.edge.paging import CursorText, Limit
from remote_claude.edge.problems import Problem
from remote_claude.edge.thin import ThinRoute
from remote_claude.gateway.api import answers
from remote_claude.gateway.api.answer_models import (
    AgentAnswer,
    AgentList,
    AnsweredPermission,
    CancelAnswer,
    EventPage,
    MessageAnswer,
    PullRequestRequestAnswer,
    SubmitAnswer,
    TaskAnswer,
    TaskPage,
)
from remote_claude.gateway.api.answers import data_key
from remote_claude.gateway.api.edge import TaskId
from remote_claude.gateway.api.models import (
    MAX_LABELS,
    MessageRequest,
    PermissionAnswerRequest,
    ReadQuery,
    SubmitQuery,
    SubmitRequest,
)
from remote_claude.gateway.api.reading import TaskReading
from remote_claude.gateway.api.search import TextFilter, search
from remote_claude.gateway.api.submissions import Submissions, parse
from remote_claude.gateway.domain.lifecycle import State
from remote_claude.gateway.domain.offers import KNOWN, Offers
from remote_claude.gateway.domain.task import (
    AnswerPermission,
    RequestCancellation,
    RequestPullRequest,
    SendMessage,
)
from remote_claude.gateway.handlers import SubmissionResult, TaskHandlers
from remote_claude.gateway.message_delivery import MessageDelivery
from remote_claude.gateway.projections.queries import Filter, TaskQueries, check_seen
from remote_claude.gateway.waiting_reasons import WaitingReasons
from remote_claude.runtime.service import Runtime

KEY = re.compile(r"[\x21-\x7e]{1,255}")
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Makes it safe to send the request again.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
TAGS: list[str | Enum] = ["tasks"]


def add_routes(
    api: APIRouter,
    runtime: Runtime,
    fresh: Freshness,
    submissions: Submissions,
    handlers: TaskHandlers,
    queries: TaskQueries,
    reading: TaskReading,
    offers: Offers,
    reasons: WaitingReasons,
) -> None:
    """The routes under `/v1/tasks`, but for output and results; and `/v1/agents`."""
    reads = [Depends(fresh)]

    async def submit_task(request: Request, query: Annotated[SubmitQuery, Query()]) -> Response:
        """Submit a task. The same `Idempotency-Key` with the same body gets the same answer, whenever it is sent.

        With `wait` the answer is the task at its end: one request, however long the task takes up to a minute.
        """
        principal = admitted(request, "submit_task")
        await remember(request, principal)
        key = _idempotency_key(request)
        body = parse(await request.body())
        submission = await submissions.submit(principal, body, key)
        answer = _submitted(submission)
        if not query.wait:
            return answer
        position = submission.decision.position if submission.decision else submission.position
        try:
            task = await reading.read(
                request, principal, submission.task, ReadQuery(wait=query.wait, min_position=position)
            )
        except NotCaughtUp:  # the task is recorded
            return answer
        ended = SubmitAnswer(id=task.id, state=task.state, position=task.changed, task=task)
        status = HTTPStatus.ACCEPTED if task.state == "submitted" else HTTPStatus.CREATED
        return Response(ended.model_dump_json(), status, media_type="application/json")

    api.add_api_route(
        "/v1/tasks",
        submit_task,
        methods=["POST"],
        route_class_override=ThinRoute,
        status_code=HTTPStatus.CREATED,
        response_model=SubmitAnswer,
        responses={
            202: {"model": SubmitAnswer, "description": "Recorded; the scheduler has not decided yet"},
            **problems(402, 409, 410, 413, 422, 503),
        },
        openapi_extra={"parameters": [IDEMPOTENCY_KEY], "requestBody": json_body(SubmitRequest)},
        tags=TAGS,
    )

    @api.get("/v1/tasks", tags=TAGS, dependencies=reads, responses=problems(422, 503))
    async def list_tasks(
        principal: Caller,
        state: Annotated[list[State] | None, Query(description="Several: one of them")] = None,
        agent: Annotated[str | None, Query(max_length=64)] = None,
        submitted_by: Annotated[str | None, Query(max_length=64, description="The id of a user")] = None,
        team: Annotated[str | None, Query(max_length=64, description="The id of a team")] = None,
        label: Annotated[
            list[str] | None, Query(max_length=MAX_LABELS, description="`name` or `name:value`; all of them")
        ] = None,
        q: Annotated[
            str | None, Query(max_length=200, description="Words in the prompt or a label, or an id's end")
        ] = None,
        pull_request: Annotated[
            str | None,
            Query(max_length=2048, description="The URL of the pull request that a task has opened"),
        ] = None,
        limit: Limit = 50,
        cursor: CursorText = None,
    ) -> TaskPage:
        """The organisation's tasks that the caller may see, newest first."""
        shown = Filter(
            states=tuple(state or ()),
            agent=agent,
            submitted_by=submitted_by,
            team=team,
            seen_by=None if principal.sees_all else principal,
        )
        texts = TextFilter.of(q, label or [], pull_request)
        key = await data_key(runtime.keyring, principal.org)
        tasks, following, as_of = await search(queries, key, principal.org, shown, texts, limit, cursor)
        waiting = await reasons.of(principal.org, ((task.id, task.state) for task in tasks))
        tasks = [answers.with_reason(task, waiting.get(task.id)) for task in tasks]
        return TaskPage(tasks=tasks, next=following, as_of=as_of)

    @api.get("/v1/agents", tags=TAGS)
    async def list_agents(principal: Caller) -> AgentList:
        """What a task may ask for: agents, and what the runners that are there now offer."""
        offered = offers.agents
        return AgentList(
            agents=[
                AgentAnswer(
                    name=name,
                    offered=name in offered,
                    needs_model_key=offers.without_model(name, principal.org),
                )
                for name in sorted(KNOWN.union(offered))
            ],
            providers=offers.providers,
            capabilities=offers.capabilities,
        )

    async def get_task(
        request: Request, principal: Caller, task: TaskId, query: Annotated[ReadQuery, Query()]
    ) -> TaskAnswer:
        """A task, as far as it is; with `wait` once it has ended, and with `changed` once it has changed."""
        return await reading.read(request, principal, task, query)

    api.add_api_route(
        "/v1/tasks/{task}",
        get_task,
        methods=["GET"],
        route_class_override=ThinRoute,
        tags=TAGS,
        responses=problems(404, 422, 503),
    )

    @api.get("/v1/tasks/{task}/events", tags=TAGS, dependencies=reads, responses=problems(404, 422, 503))
    async def list_task_events(
        principal: Caller,
        task: TaskId,
        after: Annotated[int, Query(ge=0, le=MAX_POSITION)] = 0,
        limit: Limit = 100,
    ) -> EventPage:
        """Everything that was said of a task, by every service, in log order."""
        found, _ = await queries.get(principal.org, task)
        check_seen(principal, found)
        rows, as_of = await queries.events(principal.org, task, after, limit + 1)
        events = [answers.event(row) for row in rows[:limit]]
        return EventPage(events=events, next=events[-1].position if len(rows) > limit else None, as_of=as_of)

    @api.post(
        "/v1/tasks/{task}/cancel",
        tags=TAGS,
        status_code=HTTPStatus.ACCEPTED,
        responses=problems(404, 409, 503),
    )
    async def cancel_task(principal: Caller, task: TaskId) -> CancelAnswer:
        """Ask for a task's end. Asking again changes nothing."""
        await queries.check_seen(principal, task)
        command = RequestCancellation(task=task, org=principal.org, user=principal.user)
        progress, position = await handlers.request_cancellation(command)
        return CancelAnswer(id=task, state=progress.state, position=position)

    @api.post(
        "/v1/tasks/{task}/messages",
        tags=TAGS,
        status_code=HTTPStatus.ACCEPTED,
        responses=problems(404, 409, 422, 503),
    )
    async def send_message(principal: Caller, task: TaskId, message: MessageRequest) -> MessageAnswer:
        """Send a message to a task that has not ended. Its agent takes it after the current turn."""
        key = await data_key(runtime.keyring, principal.org)
        if key is None:
            raise Problem(HTTPStatus.CONFLICT, "key_erased", "The data of this organisation has been erased.")
        row, _ = await queries.get(principal.org, task)
        check_seen(principal, row)
        delivery = MessageDelivery(runtime.output, principal.org, task, row.progress)
        await delivery.begin()
        number, position = await handlers.send_message(
            SendMessage(
                task=task,
                org=principal.org,
                user=principal.user,
                text=key.seal(message.text, message_context(task)),
                interrupt=message.interrupt,
            )
        )
        await delivery.check(message.text, number)
        return MessageAnswer(id=task, number=number, position=position)

    @api.post(
        "/v1/tasks/{task}/permissions/{request}",
        tags=TAGS,
        status_code=HTTPStatus.ACCEPTED,
        responses=problems(404, 409, 422, 503),
    )
    async def answer_permission(
        principal: Caller,
        task: TaskId,
        request: Annotated[str, Path(max_length=64)],
        answer: PermissionAnswerRequest,
    ) -> AnsweredPermission:
        """Answer what the agent of a task asks. The first answer counts; the same one again changes nothing."""
        key = await data_key(runtime.keyring, principal.org)
        if key is None:
            raise Problem(HTTPStatus.CONFLICT, "key_erased", "The data of this organisation has been erased.")
        await queries.check_seen(principal, task)
        said = answer.message if answer.decision == "deny" else None
        position = await handlers.answer_permission(
            AnswerPermission(
                task=task,
                org=principal.org,
                user=principal.user,
                request=request,
                decision=answer.decision,
                message=key.seal(said, permission_context(task, request)) if said else None,
            )
        )
        return AnsweredPermission(id=task, request=request, decision=answer.decision, position=position)

    @api.post(
        "/v1/tasks/{task}/pull-request",
        tags=TAGS,
        status_code=HTTPStatus.ACCEPTED,
        responses=problems(404, 409, 422, 503),
    )
    async def request_pull_request(principal: Caller, task: TaskId) -> PullRequestRequestAnswer:
        """Open the pull request of a task that has succeeded, or try again. One that is open is answered as it is."""
        await queries.check_seen(principal, task)
        command = RequestPullRequest(task=task, org=principal.org, user=principal.user)
        found, position = await handlers.request_pull_request(command)
        key = await data_key(runtime.keyring, principal.org)
        shown = answers.pull_request(task, found, key) if found is not None else None
        return PullRequestRequestAnswer(id=task, position=position, pull_request=shown)


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not KEY.fullmatch(key):
        detail = "Idempotency-Key: 1 to 255 visible ASCII characters, a new one for each task."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_idempotency_key", detail)
    return key


def _submitted(submission: SubmissionResult) -> Response:
    decision = submission.decision
    if decision is None:
        body = {"id": submission.task, "state": "submitted", "position": submission.position}
        return _json(body, HTTPStatus.ACCEPTED)
    if decision.code is not None:
        raise Problem(
            HTTPStatus.PAYMENT_REQUIRED,
            decision.code,
            decision.detail or "The task was refused.",
            id=submission.task,
            position=decision.position,
        )
    return _json(
        {"id": submission.task, "state": "queued", "position": decision.position}, HTTPStatus.CREATED
    )


def _json(body: Any, status: HTTPStatus) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
