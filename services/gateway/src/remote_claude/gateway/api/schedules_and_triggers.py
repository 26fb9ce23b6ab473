"""Schedules and triggers over HTTP, and the address at which a forge reports."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import Annotated

import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from remote_claude.access.keyring import DataKey
from remote_claude.contracts.contexts import starter_context
from remote_claude.contracts.refusals import NotCaughtUp
from remote_claude.edge.bodies import bounded_body
from remote_claude.edge.caller import Caller
from remote_claude.edge.models import problems
from remote_claude.edge.problems import Problem
from remote_claude.gateway.api import models
from remote_claude.gateway.api.answers import data_key
from remote_claude.gateway.api.schedule_and_trigger_handlers import Starters
from remote_claude.gateway.domain import forge_events as domain
from remote_claude.gateway.domain.refusals import TriggerNotFound
from remote_claude.gateway.projections import starters as view
from remote_claude.gateway.projections.starters import StartersView
from remote_claude.runtime.ids import is_id
from remote_claude.runtime.service import Runtime

MAX_EVENT = 1024 * 1024
TOO_LARGE = Problem(413, "body_too_large", "Events of issues and their comments are at most 1 MiB.")
WAIT_S = 5.0
"""How long a request waits for its own change to be visible."""


class ScheduleRequest(models.StrictRequest):
    """A task, and when it is submitted: five cron fields in a time zone, such as `0 7 * * 1-5` in `Europe/Berlin`."""

    cron: Annotated[str, Field(max_length=256)]
    zone: Annotated[str, Field(max_length=64)] = "UTC"
    task: models.SubmitRequest


class ScheduleAnswer(BaseModel):
    """A schedule. `missed` counts runs that nothing could start in time; `last_refusal` is the code that the last run met."""

    id: str
    cron: str
    zone: str
    created_by: str
    created_at: str
    prompt: str | None
    agent: str | None
    next_due: str
    last_due: str | None
    last_task: str | None
    last_refusal: str | None
    missed: int


class ScheduleList(BaseModel):
    """Schedules of the organisation, the oldest first."""

    schedules: list[ScheduleAnswer]


class TriggerTask(models.StrictRequest):
    """What holds for all tasks of a trigger."""

    agent: models.Name
    model: models.Name | None = None
    network: models.Network | None = None
    budget_nano_usd: int | None = Field(default=None, ge=1, le=models.MAX_BUDGET)
    timeout_s: int | None = Field(default=None, ge=1, le=86400)
    pull_request: bool = True


class TriggerRequest(models.StrictRequest):
    """Who may start tasks on which repositories: by a comment that begins with `command`, or by `label`.

    Comments are those on issues and on pull requests.
    """

    forge: domain.Forge = "github"
    allow: list[models.Name] = Field(
        min_length=1,
        max_length=100,
        description="Logins on the forge; on Bitbucket nicknames or account ids, on Azure DevOps sign-in addresses.",
    )
    repositories: list[Annotated[str, Field(pattern=r"^[\w.-]+(/[\w. -]+)+$", max_length=200)]] = Field(
        min_length=1,
        max_length=100,
        description="`owner/name`; on GitLab with all groups, on Azure DevOps `organisation/project/name`.",
    )
    command: models.Name = "/rclaude"
    label: models.Name | None = None
    task: TriggerTask


class TriggerAnswer(BaseModel):
    """A trigger. The forge posts to `path`."""

    id: str
    forge: domain.Forge
    path: str
    created_by: str
    created_at: str
    allow: list[str]
    repositories: list[str]
    command: str | None
    label: str | None
    last_task: str | None


class CreatedTrigger(TriggerAnswer):
    """`secret` is shown this once: the forge signs with it."""

    secret: str


class TriggerList(BaseModel):
    """Triggers of the organisation, the oldest first."""

    triggers: list[TriggerAnswer]


class TriggerOutcome(BaseModel):
    """The outcome of an event: the task that it started, or why it started none."""

    task: str | None = None
    ignored: str | None = None


def add_routes(api: APIRouter, runtime: Runtime, starters: Starters) -> None:
    """The routes under `/v1/schedules` and `/v1/triggers`."""

    async def shown_at(position: int) -> None:
        projector = runtime.projectors[StartersView.name]
        if not await projector.wait_for(position, WAIT_S):
            raise NotCaughtUp(position, projector.position)

    @api.post(
        "/v1/schedules", status_code=HTTPStatus.CREATED, responses=problems(403, 422, 503), tags=["starters"]
    )
    async def create_schedule(principal: Caller, body: ScheduleRequest) -> ScheduleAnswer:
        """Submit a task at the times of a cron expression, as the caller."""
        id, position = await starters.create_schedule(principal, body.cron, body.zone, body.task)
        await shown_at(position)
        key = await data_key(runtime.keyring, principal.org)
        found = next(s for s in await view.schedules(runtime.pool, principal.org) if s.schedule == id)
        return _schedule(found, key)

    @api.get("/v1/schedules", responses=problems(503), tags=["starters"])
    async def list_schedules(principal: Caller) -> ScheduleList:
        """The organisation's schedules."""
        key = await data_key(runtime.keyring, principal.org)
        found = await view.schedules(runtime.pool, principal.org)
        seen = [one for one in found if principal.sees(one.created_by, None)]
        return ScheduleList(schedules=[_schedule(one, key) for one in seen])

    @api.delete(
        "/v1/schedules/{schedule}",
        status_code=HTTPStatus.NO_CONTENT,
        responses=problems(404, 503),
        tags=["starters"],
    )
    async def remove_schedule(principal: Caller, schedule: str) -> None:
        """Remove a schedule. Tasks that it has started go on."""
        await shown_at(await starters.remove_schedule(principal, schedule))

    @api.post(
        "/v1/triggers", status_code=HTTPStatus.CREATED, responses=problems(403, 422, 503), tags=["starters"]
    )
    async def create_trigger(principal: Caller, body: TriggerRequest) -> CreatedTrigger:
        """Let comments and labels on a forge start tasks, as the caller."""
        rules = domain.TriggerRules(
            allow=tuple(body.allow),
            repositories=tuple(body.repositories),
            command=body.command,
            label=body.label,
        )
        task = body.task.model_dump(exclude={"pull_request"}, exclude_none=True)
        if body.task.pull_request:
            task["pull_request"] = {}
        request = models.SubmitRequest.model_validate({"prompt": "set by the trigger", **task})
        secret = secrets.token_urlsafe(32)
        id, position = await starters.create_trigger(principal, body.forge, secret, rules, request)
        await shown_at(position)
        [found] = await view.triggers(runtime.pool, org=principal.org, trigger=id)
        shown = _trigger(found, await data_key(runtime.keyring, principal.org))
        return CreatedTrigger(**shown.model_dump(), secret=secret)

    @api.get("/v1/triggers", responses=problems(503), tags=["starters"])
    async def list_triggers(principal: Caller) -> TriggerList:
        """The organisation's triggers."""
        key = await data_key(runtime.keyring, principal.org)
        found = await view.triggers(runtime.pool, org=principal.org)
        seen = [one for one in found if principal.sees(one.created_by, None)]
        return TriggerList(triggers=[_trigger(one, key) for one in seen])

    @api.delete(
        "/v1/triggers/{trigger}",
        status_code=HTTPStatus.NO_CONTENT,
        responses=problems(404, 503),
        tags=["starters"],
    )
    async def remove_trigger(principal: Caller, trigger: str) -> None:
        """Remove a trigger. Tasks that it has started go on."""
        await shown_at(await starters.remove_trigger(principal, trigger))

    @api.post(
        "/v1/triggers/{trigger}/{forge}", responses=problems(400, 403, 404, 413, 422, 503), tags=["starters"]
    )
    async def receive_forge_event(trigger: str, forge: str, request: Request) -> TriggerOutcome:
        """For the forge: a signed event starts a task if the trigger's rules say so. Sent again, it starts none."""
        found = await view.triggers(runtime.pool, trigger=trigger) if is_id("trigger", trigger) else []
        if not found or found[0].forge != forge:
            raise TriggerNotFound(trigger)
        [one] = found
        body = await bounded_body(request, MAX_EVENT, TOO_LARGE)
        secret = await runtime.keyring.open(one.secret, starter_context(trigger, "secret"))
        if not domain.is_signed(one.forge, secret, body, request.headers):
            raise Problem(400, "bad_signature", "The event is not signed with this trigger's secret.")
        rules = domain.TriggerRules.model_validate_json(
            await runtime.keyring.open(one.rules, starter_context(trigger, "rules"))
        )
        try:
            start = domain.from_forge(one.forge, request.headers, orjson.loads(body), rules)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Problem(
                422,
                "invalid_request",
                "The event has not the fields that the forge documents. Send JSON, not a form.",
            ) from error
        if isinstance(start, domain.Ignored):
            return TriggerOutcome(ignored=start.reason)
        started = await starters.start_triggered(one, start)
        if isinstance(started, domain.Ignored):
            return TriggerOutcome(ignored=started.reason)
        return TriggerOutcome(task=started.task)


def _schedule(found: view.Schedule, key: DataKey | None) -> ScheduleAnswer:
    request = (
        models.SubmitRequest.model_validate_json(
            key.open(found.request, starter_context(found.schedule, "request"))
        )
        if key is not None
        else None
    )
    return ScheduleAnswer(
        id=found.schedule,
        cron=found.cron,
        zone=found.zone,
        created_by=found.created_by,
        created_at=found.created_at,
        prompt=request.prompt if request else None,
        agent=request.agent if request else None,
        next_due=found.next_due,
        last_due=found.last_due,
        last_task=found.last_task,
        last_refusal=found.last_refusal,
        missed=found.missed,
    )


def _trigger(found: view.Trigger, key: DataKey | None) -> TriggerAnswer:
    rules = (
        domain.TriggerRules.model_validate_json(
            key.open(found.rules, starter_context(found.trigger, "rules"))
        )
        if key is not None
        else None
    )
    return TriggerAnswer(
        id=found.trigger,
        forge=found.forge,
        path=f"/v1/triggers/{found.trigger}/{found.forge}",
        created_by=found.created_by,
        created_at=found.created_at,
        allow=list(rules.allow) if rules else [],
        repositories=list(rules.repositories) if rules else [],
        command=rules.command if rules else None,
        label=rules.label if rules else None,
        last_task=found.last_task,
    )
