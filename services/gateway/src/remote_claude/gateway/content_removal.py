"""Removes the content of tasks whose time by the plan is over: first the objects, then the event that says so.

Whatever is deleted twice is deleted once, so a process that ends in between loses nothing: the next look goes on. An object
that a task whose time is not over refers to as well stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog
from obstore.exceptions import BaseError

from remote_claude.access.plans import Plans
from remote_claude.contracts.gateway import ContentKind
from remote_claude.eventsourcing import Clock, CommandHandler, EventLog, new_event_id, stream_id
from remote_claude.eventsourcing.postgres.locks import holding
from remote_claude.eventsourcing.postgres.schemas import Pool, connect
from remote_claude.gateway.domain.retention import cutoffs
from remote_claude.gateway.domain.task import RemoveContent
from remote_claude.gateway.handlers import TASK
from remote_claude.gateway.projections import contents
from remote_claude.gateway.projections.contents import DueContent
from remote_claude.runtime.manifests import Manifest
from remote_claude.runtime.objects import ObjectNotFound, Objects

POLL_S = 3600.0
WRITTEN_AGAIN = timedelta(days=1)
"""An object that was written within this time stays: what refers to it may not be recorded yet."""
SILENCE_S = 7200.0

log = structlog.get_logger(__name__)


class ContentRemoval:
    """Looks once an hour, in one process at a time."""

    def __init__(self, event_log: EventLog, pool: Pool, objects: Objects, clock: Clock) -> None:
        self._pool, self._objects, self._clock = pool, objects, clock
        self._plans = Plans(event_log, clock)
        self._handler = CommandHandler(event_log, clock, new_event_id)

    async def run(self) -> None:
        """Never ends by itself. Raises what PostgreSQL and the log raise."""
        while True:
            async with (
                connect(self._pool, "public") as connection,
                holding(connection, "gateway/retention", silence=SILENCE_S) as mine,
            ):
                if mine:
                    await self.remove(self._clock())
            await asyncio.sleep(POLL_S)

    async def due(self, now: datetime) -> dict[str, list[DueContent]]:
        """What is due at a time, by organisation."""
        found = {}
        for org in await contents.organisations(self._pool):
            if tasks := await contents.due(self._pool, org, await self._cutoffs(org, now)):
                found[org] = tasks
        return found

    async def remove(self, now: datetime) -> int:
        """Remove what is due. Returns of how many tasks. A store that does not answer is asked at the next look."""
        removed = 0
        for org, tasks in (await self.due(now)).items():
            ended_before = await self._cutoffs(org, now)
            try:
                await self._delete(org, tasks, ended_before, now - WRITTEN_AGAIN)
            except (BaseError, OSError) as error:
                log.warning("content can't be removed", org=org, error=repr(error))
                continue
            for one in tasks:
                await self._handler.handle(
                    TASK,
                    stream_id("gateway", org, "task", one.task),
                    RemoveContent(task=one.task, org=org, kinds=tuple(sorted(one.objects))),
                    subject=one.task,
                )
            removed += len(tasks)
        return removed

    async def _cutoffs(self, org: str, now: datetime) -> dict[ContentKind, str]:
        allowed = await self._plans.of(org)
        return cutoffs(allowed.retention, now) if allowed else {}

    async def _delete(
        self, org: str, tasks: Iterable[DueContent], ended_before: dict[ContentKind, str], before: datetime
    ) -> None:
        manifests = {m for one in tasks for m in one.objects.get("checkpoints", ())}
        chunks = {chunk for manifest in manifests for chunk in await self._chunks(org, manifest)}
        if chunks:
            for manifest in await contents.kept_manifests(self._pool, org, ended_before):
                chunks.difference_update(await self._chunks(org, manifest))
        candidates = chunks | {sha256 for one in tasks for found in one.objects.values() for sha256 in found}
        candidates -= await contents.still_needed(self._pool, org, candidates, ended_before)
        # manifests last: where this ends halfway, they still say which chunks there are
        for sha256 in sorted(candidates, key=lambda one: (one in manifests, one)):
            await self._objects.delete(org, sha256, written_before=before)

    async def _chunks(self, org: str, manifest: str) -> tuple[str, ...]:
        try:
            return Manifest.model_validate_json(await self._objects.get(org, manifest)).chunks
        except ObjectNotFound:
            return ()
