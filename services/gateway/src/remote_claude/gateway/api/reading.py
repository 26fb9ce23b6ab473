"""One task, as it is now or once it has ended: of the live tasks where it is one, otherwise of the view."""

from __future__ import annotations

import asyncio

from fastapi import Request
from starlette.requests import ClientDisconnect

from remote_claude.access.keyring import Keyring
from remote_claude.access.plans import Plans
from remote_claude.access.principal import Principal
from remote_claude.access.verifier import Verifier
from remote_claude.concurrency import tasks
from remote_claude.contracts.billing import Retention
from remote_claude.contracts.refusals import NotCaughtUp
from remote_claude.edge.caller import presented
from remote_claude.edge.freshness import POSITION_WAIT_S, Freshness
from remote_claude.gateway.api import answers
from remote_claude.gateway.api.answer_models import TaskAnswer
from remote_claude.gateway.api.answers import data_key
from remote_claude.gateway.api.models import ReadQuery
from remote_claude.gateway.domain.retention import kept_until
from remote_claude.gateway.live_tasks import LiveTasks, WatchedTask, is_due
from remote_claude.gateway.projections.queries import Task, TaskQueries, check_seen
from remote_claude.gateway.waiting_reasons import WaitingReasons

UNATTENDED_S = 1.0
"""So long a wait does not look whether its client is still there: most are over by then."""


class TaskReading:
    """Answers with one task."""

    def __init__(
        self,
        keyring: Keyring,
        fresh: Freshness,
        queries: TaskQueries,
        live: LiveTasks,
        reasons: WaitingReasons,
        plans: Plans,
    ) -> None:
        self._plans = plans
        self._keyring, self._fresh, self._queries = keyring, fresh, queries
        self._live, self._reasons = live, reasons

    async def read(self, request: Request, principal: Principal, task: str, query: ReadQuery) -> TaskAnswer:
        """A task; with `wait` once it has ended or changed, or the time is over.

        Raises `Stale`, `NotCaughtUp`, `TaskNotFound`, `ClientDisconnect`, and `NotAdmitted` where the credential was
        revoked during the wait.
        """
        self._fresh.check()
        org, position = principal.org, query.min_position
        if position is not None and not await self._live.wait_for(position, POSITION_WAIT_S):
            raise NotCaughtUp(position, self._live.position)
        live = self._live.find(org, task)
        if live is None and not query.wait:
            await self._fresh(position)
            found, as_of = await self._queries.get(org, task)
            check_seen(principal, found)
            return await self._answer(org, found, as_of)
        if live is None:
            live = await self._live.get(org, task)
        check_seen(principal, live.submission)
        if query.wait and not is_due(live.progress, query.changed):
            await self._wait(request, live, query.wait, query.changed)
            self._fresh.check()
            verifier: Verifier = request.app.state.verifier
            verifier.admit(presented(request), request.scope["route"].name)
            if self._live.find(org, task) is not live:  # it is folded here no longer
                return await self._answer(org, *await self._queries.get(org, task))
        return await self._answer(org, live.task, self._live.position)

    async def _wait(self, request: Request, live: WatchedTask, seconds: float, changed: int | None) -> None:
        """Wait until the task has ended or changed, the time is over, the client has hung up, or the process stops."""
        if await self._live.wait(live, min(seconds, UNATTENDED_S), changed) or seconds <= UNATTENDED_S:
            return
        gone = asyncio.Event()
        await tasks.first_of(self._live.wait(live, seconds - UNATTENDED_S, changed), _hung_up(request, gone))
        if gone.is_set():
            raise ClientDisconnect

    async def _answer(self, org: str, task: Task, as_of: int) -> TaskAnswer:
        shown = answers.whole(task, await data_key(self._keyring, org), as_of)
        if task.progress.finished_at is not None:
            allowed = await self._plans.lately(org)
            kept = kept_until(allowed.retention if allowed else Retention(), task.progress.finished_at)
            removed = task.progress.removed
            shown.removed = list(removed)
            shown.kept_until = {kind: until for kind, until in kept.items() if kind not in removed}
        waiting = await self._reasons.of(org, [(task.task, shown.state)])
        return answers.with_reason(shown, waiting.get(task.task))


async def _hung_up(request: Request, gone: asyncio.Event) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    gone.set()
