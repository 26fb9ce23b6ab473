"""Commands on schedules and triggers, and the tasks that they start. Both act for a member."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import structlog

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased
from remote_claude.access.permissions import MEMBERS
from remote_claude.access.principal import ApiKey, Principal
from remote_claude.access.verifier import Verifier
from remote_claude.contracts.contexts import starter_context
from remote_claude.contracts.gateway import ScheduleDue
from remote_claude.contracts.refusals import NotCaughtUp, Refusal
from remote_claude.edge.problems import Problem
from remote_claude.eventsourcing import CommandHandler, Decider, LogUnavailable, stream_id
from remote_claude.eventsourcing.events import timestamp
from remote_claude.gateway.api.models import SubmitRequest
from remote_claude.gateway.api.search import TextFilter, search
from remote_claude.gateway.api.submissions import Submissions
from remote_claude.gateway.domain import forge_events, schedules, triggers
from remote_claude.gateway.domain.refusals import (
    MembersOnly,
    NotKnownToBeRecorded,
    ScheduleNotFound,
    TriggerNotFound,
)
from remote_claude.gateway.handlers import SubmissionResult
from remote_claude.gateway.projections import starters as view
from remote_claude.gateway.projections.queries import EVERYTHING, TaskQueries
from remote_claude.gateway.projections.starters import Schedule, StartersView, Trigger, due_schedules
from remote_claude.runtime.service import Runtime

SCHEDULE = Decider(schedules.initial_state, schedules.decide, schedules.evolve)
TRIGGER = Decider(triggers.initial_state, triggers.decide, triggers.evolve)
POLL_S = 1.0
"""Seconds between two looks for what is due. A schedule is due to the minute."""

log = structlog.get_logger(__name__)


class Starters:
    """Creates and removes schedules and triggers, and submits their tasks."""

    def __init__(self, runtime: Runtime, submissions: Submissions, queries: TaskQueries) -> None:
        self._runtime, self._submissions, self._queries = runtime, submissions, queries
        self._handler = CommandHandler(runtime.log, runtime.clock)

    async def create_schedule(
        self, who: Principal, cron: str, zone: str, request: SubmitRequest
    ) -> tuple[str, int]:
        """A new schedule's id, and the position to read at.

        Raises `ScheduleInvalid`, `MembersOnly`, `KeyErased`, and refusals of an agent that could not run now.
        """
        schedules.check(cron, zone)
        self._check_member(who.org, who.user)
        await self._submissions.check_runnable(who, request)
        id, key = self._runtime.new_id("schedule"), await self._runtime.keyring.get(who.org)
        command = schedules.CreateSchedule(
            schedule=id,
            org=who.org,
            user=who.user,
            cron=cron,
            zone=zone,
            since=self._runtime.clock(),
            request=key.seal(_json(request), starter_context(id, "request")),
        )
        return id, await self._schedule(command)

    async def remove_schedule(self, who: Principal, schedule: str) -> int:
        """Raises `ScheduleNotFound`, for those of others too where the caller does not see all tasks."""
        if not who.sees_all and schedule not in {
            one.schedule
            for one in await view.schedules(self._runtime.pool, who.org)
            if who.sees(one.created_by, None)
        }:
            raise ScheduleNotFound(schedule)
        return await self._schedule(schedules.RemoveSchedule(schedule=schedule, org=who.org, user=who.user))

    async def create_trigger(
        self,
        who: Principal,
        forge: forge_events.Forge,
        secret: str,
        rules: forge_events.TriggerRules,
        request: SubmitRequest,
    ) -> tuple[str, int]:
        """The same for a trigger."""
        self._check_member(who.org, who.user)
        await self._submissions.check_runnable(who, request)
        id, key = self._runtime.new_id("trigger"), await self._runtime.keyring.get(who.org)
        texts = {"secret": secret, "rules": rules.model_dump_json(), "request": _json(request)}
        sealed = {name: key.seal(text, starter_context(id, name)) for name, text in texts.items()}
        command = triggers.CreateTrigger(trigger=id, org=who.org, user=who.user, forge=forge, **sealed)
        return id, await self._trigger(command)

    async def remove_trigger(self, who: Principal, trigger: str) -> int:
        """Raises `TriggerNotFound`, for those of others too where the caller does not see all tasks."""
        if not who.sees_all and trigger not in {
            one.trigger
            for one in await view.triggers(self._runtime.pool, org=who.org)
            if who.sees(one.created_by, None)
        }:
            raise TriggerNotFound(trigger)
        return await self._trigger(triggers.RemoveTrigger(trigger=trigger, org=who.org, user=who.user))

    async def start_triggered(
        self, trigger: Trigger, start: forge_events.TaskStart
    ) -> SubmissionResult | forge_events.Ignored:
        """Submit the task that a forge's event starts, for the member who made the trigger. Raises refusals.

        On a pull request of an earlier task it follows that one; on another it works on the branch that is to be merged.
        """
        self._check_member(trigger.org, trigger.created_by)
        text = await self._runtime.keyring.open(trigger.request, starter_context(trigger.trigger, "request"))
        request = SubmitRequest.model_validate_json(text)
        overrides: dict[str, Any] = {
            "prompt": start.prompt,
            "labels": {**request.labels, **start.labels, "trigger": trigger.trigger},
        }
        earlier = await self._task_of(trigger.org, start.pull_request) if start.pull_request else None
        if earlier is not None:
            overrides |= {"continues": earlier, "pull_request": {}, "feedback": True}
        elif start.pull_request is None:
            overrides["repo"] = {"url": start.url}
        elif start.branch is not None:
            overrides["repo"] = {"url": start.url, "ref": start.branch}
        else:
            return forge_events.Ignored("no task has opened this pull request, and its branch is not known")
        whole = SubmitRequest.model_validate({**request.model_dump(exclude_defaults=True), **overrides})
        key = f"{trigger.trigger}-{start.key}"
        return await self._submissions.submit(
            acting(self._runtime.verifier, trigger.org, trigger.created_by),
            whole,
            key,
            trigger.trigger,
            thread=start.thread,
        )

    async def _task_of(self, org: str, pull_request: str) -> str | None:
        """The newest task that has opened or updated a pull request."""
        texts = TextFilter.of(None, (), pull_request)
        key = await self._runtime.keyring.get(org)
        found, _, _ = await search(self._queries, key, org, EVERYTHING, texts, 1, None)
        return found[0].id if found else None

    async def run(self) -> None:
        """Start what is due; never ends by itself. Two processes do the same without harm: the log decides once."""
        view = self._runtime.projectors[StartersView.name]
        while not await view.wait_for(1, 60):
            pass  # its tables are not there yet
        while True:
            now = self._runtime.clock()
            for schedule in await due_schedules(self._runtime.pool, timestamp(now)):
                try:
                    await self._start_due(schedule, now)
                except (LogUnavailable, NotCaughtUp, NotKnownToBeRecorded, KeyUnusable, Problem) as error:
                    log.warning(
                        "a schedule's task is tried again", schedule=schedule.schedule, why=str(error)
                    )
            await asyncio.sleep(POLL_S)

    async def _start_due(self, schedule: Schedule, now: datetime) -> None:
        due = schedule.pending
        if due is None:
            command = schedules.StartDue(schedule=schedule.schedule, org=schedule.org, now=now)
            handled = await self._handler.handle(SCHEDULE, _schedule_stream(command), command)
            if not handled.events:
                return
            [event] = handled.events
            assert isinstance(event, ScheduleDue)
            due = event.due
        context = starter_context(schedule.schedule, "request")
        try:
            self._check_member(schedule.org, schedule.created_by)
            text = await self._runtime.keyring.open(schedule.request, context)
            await self._submissions.submit(
                acting(self._runtime.verifier, schedule.org, schedule.created_by),
                SubmitRequest.model_validate_json(text),
                f"{schedule.schedule}-{due}",
                schedule.schedule,
            )
        except (NotCaughtUp, NotKnownToBeRecorded):
            raise
        except (Refusal, KeyErased) as refusal:
            refused = schedules.RefuseDue(
                schedule=schedule.schedule, org=schedule.org, due=due, reason=refusal.code
            )
            await self._schedule(refused)

    def _check_member(self, org: str, user: str) -> None:
        if self._runtime.verifier.memberships.of(user).get(org) not in MEMBERS:
            raise MembersOnly

    async def _schedule(self, command: schedules.Command) -> int:
        return (await self._handler.handle(SCHEDULE, _schedule_stream(command), command)).position

    async def _trigger(self, command: triggers.Command) -> int:
        try:
            stream = stream_id("gateway", command.org, "trigger", command.trigger)
        except ValueError:
            raise TriggerNotFound(command.trigger) from None
        return (await self._handler.handle(TRIGGER, stream, command)).position


def _schedule_stream(command: schedules.Command) -> str:
    try:
        return stream_id("gateway", command.org, "schedule", command.schedule)
    except ValueError:
        raise ScheduleNotFound(command.schedule) from None


def _json(request: SubmitRequest) -> str:
    return request.model_dump_json(exclude_defaults=True)


def acting(verifier: Verifier, org: str, user: str) -> Principal:
    """Who a task is submitted for when no request carries a credential."""
    return Principal(
        org=org,
        user=user,
        credential=ApiKey(""),
        scopes=frozenset({"tasks"}),
        role=verifier.memberships.of(user).get(org),
        teams=verifier.teams.of(org, user),
        visibility=verifier.teams.visibility(org),
    )
