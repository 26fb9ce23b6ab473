"""Commands on batches, and the work that brings each to its end: it submits what is due and cancels what is to stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import orjson
import structlog

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased
from remote_claude.access.permissions import MEMBERS
from remote_claude.access.principal import Principal
from remote_claude.contracts import canonical_json
from remote_claude.contracts.contexts import batch_detail_context, batch_name_context
from remote_claude.contracts.gateway import BatchSubmitted
from remote_claude.contracts.refusals import NotCaughtUp, Refusal
from remote_claude.edge.problems import Problem
from remote_claude.eventsourcing import CommandHandler, Decider, LogUnavailable, stream_id
from remote_claude.gateway.api.models import SubmitRequest
from remote_claude.gateway.api.schedule_and_trigger_handlers import acting
from remote_claude.gateway.api.submissions import NAMESPACE, Submissions
from remote_claude.gateway.domain import batches as domain
from remote_claude.gateway.domain.refusals import (
    BatchNotFound,
    MembersOnly,
    NotKnownToBeRecorded,
    TaskAlreadyFinished,
)
from remote_claude.gateway.domain.task import RequestCancellation
from remote_claude.gateway.handlers import TaskHandlers
from remote_claude.gateway.projections import batch_queries as view
from remote_claude.gateway.projections.batch_queries import Batch
from remote_claude.gateway.projections.batches import BatchesView
from remote_claude.runtime.ids import derived_id, is_id
from remote_claude.runtime.objects import ObjectNotFound
from remote_claude.runtime.service import Runtime

BATCH = Decider(domain.initial_state, domain.decide, domain.evolve)
POLL_S, BUSY_POLL_S = 1.0, 0.2
"""Seconds between two looks for what is to be done: while no batch runs here, and while one does."""
AT_ONCE = 32
"""How many tasks of a batch are submitted side by side."""
AGAIN = (LogUnavailable, NotCaughtUp, NotKnownToBeRecorded, KeyUnusable, Problem)
"""What ends by itself: the step is done at the next look."""

log = structlog.get_logger(__name__)


class Batches:
    """Submits and cancels batches, and runs them. Two processes do the same without harm: the log decides once."""

    def __init__(self, runtime: Runtime, submissions: Submissions, tasks: TaskHandlers) -> None:
        self._runtime, self._submissions, self._tasks = runtime, submissions, tasks
        self._handler = CommandHandler(runtime.log, runtime.clock)
        self._woken = asyncio.Event()
        self._cancelled = set[str]()

    async def submit(
        self,
        who: Principal,
        name: str | None,
        items: Sequence[tuple[str, SubmitRequest]],
        idempotency_key: str | None,
        *,
        max_parallel: int | None,
        stop_on_failure: bool,
    ) -> tuple[str, int, bool]:
        """The batch's id, the position to read at, and whether it is new. Each item is its key and its request.

        Raises `IdempotencyKeyReused`, `KeyErased`.
        """
        key = await self._runtime.keyring.get(who.org)
        if idempotency_key is None:
            batch = self._runtime.new_id("batch")
        else:
            batch = derived_id("batch", NAMESPACE, who.org, who.user, idempotency_key)
        stored = [[one, request.model_dump(mode="json", exclude_defaults=True)] for one, request in items]
        whole = canonical_json([name, max_parallel, stop_on_failure, stored])
        submission = BatchSubmitted(
            batch=batch,
            org=who.org,
            user=who.user,
            name=key.seal(name or batch, batch_name_context(batch)),
            items=await self._runtime.objects.put(who.org, orjson.dumps(stored)),
            size=len(items),
            max_parallel=max_parallel,
            stop_on_failure=stop_on_failure,
            body_hash=key.fingerprint(whole),
        )
        stream = stream_id("gateway", who.org, "batch", batch)
        handled = await self._handler.handle(BATCH, stream, domain.SubmitBatch(submission), new=True)
        self._woken.set()
        return batch, handled.position, bool(handled.events)

    async def cancel(self, who: Principal, batch: str) -> int:
        """The position to read at. Raises `BatchNotFound`, `BatchAlreadyEnded`."""
        position = await self._handle(domain.CancelBatch(batch=batch, org=who.org, user=who.user))
        self._woken.set()
        return position

    async def items(self, batch: Batch) -> list[tuple[str, dict[str, Any]]]:
        """The key and the request of each item. Raises `ObjectNotFound` once the organisation's data is erased."""
        stored = orjson.loads(await self._runtime.objects.get(batch.org, batch.items))
        return [(key, request) for key, request in stored]

    async def run(self) -> None:
        """Bring all batches to their ends; never ends by itself."""
        projector = self._runtime.projectors[BatchesView.name]
        while not await projector.wait_for(1, 60):
            pass  # its tables are not there yet
        while True:
            running = await view.running(self._runtime.pool)
            found = await view.items(self._runtime.pool, running, None) if running else {}
            for batch in running:
                try:
                    await self._advance(batch, found[batch.batch])
                except AGAIN as error:
                    log.warning("a batch's next step is tried again", batch=batch.batch, why=str(error))
            self._cancelled &= {item.task for items in found.values() for item in items if item.task}
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BUSY_POLL_S if running else POLL_S):
                    await self._woken.wait()
            self._woken.clear()

    async def _advance(self, batch: Batch, items: Sequence[view.Found]) -> None:
        steps = domain.next_steps(
            items,
            max_parallel=batch.max_parallel,
            stop_on_failure=batch.stop_on_failure,
            cancelled=batch.cancelled,
        )
        if steps.submit:
            await self._submit_items(batch, steps.submit[:AT_ONCE])
        for task in steps.cancel:
            await self._cancel_task(batch, task)
        if steps.outcome is not None:
            await self._handle(domain.EndBatch(batch=batch.batch, org=batch.org, outcome=steps.outcome))

    async def _submit_items(self, batch: Batch, numbers: Sequence[int]) -> None:
        """Submit some items, and wait until the view shows them."""
        try:
            items = await self.items(batch)
        except ObjectNotFound:
            items = []
        positions = await asyncio.gather(
            *(
                self._submit_item(batch, number, *(items[number - 1] if items else (None, {})))
                for number in numbers
            ),
            return_exceptions=True,
        )
        reached = [position for position in positions if isinstance(position, int)]
        if reached:
            await self._runtime.projectors[BatchesView.name].wait_for(max(reached), POLL_S)
        for failure in positions:
            if isinstance(failure, BaseException):
                raise failure

    async def _submit_item(self, batch: Batch, number: int, key: str | None, request: dict[str, Any]) -> int:
        """The position of the item's task, or of the event that it has none."""
        try:
            self._check_member(batch)
            if key is None:
                raise KeyErased
            name = await self._runtime.keyring.open(batch.name, batch_name_context(batch.batch))
            labels = {**request.get("labels", {}), "batch": name, "batch-item": key}
            whole = SubmitRequest.model_validate({**request, "labels": labels})
            submission = await self._submissions.submit(
                acting(self._runtime.verifier, batch.org, batch.created_by),
                whole,
                f"{batch.batch}-{number}",
                batch.batch,
                number,
            )
            return submission.position
        except AGAIN:
            raise
        except (Refusal, KeyErased) as refusal:
            detail = None
            if not isinstance(refusal, KeyErased):
                data_key = await self._runtime.keyring.get(batch.org)
                detail = data_key.seal(str(refusal), batch_detail_context(batch.batch, number))
            return await self._handle(
                domain.RefuseItem(
                    batch=batch.batch, org=batch.org, item=number, reason=refusal.code, detail=detail
                )
            )

    def _check_member(self, batch: Batch) -> None:
        """A person's batch starts nothing more once they have left."""
        user = batch.created_by
        if is_id("user", user) and self._runtime.verifier.memberships.of(user).get(batch.org) not in MEMBERS:
            raise MembersOnly

    async def _cancel_task(self, batch: Batch, task: str) -> None:
        if task in self._cancelled:
            return
        command = RequestCancellation(task=task, org=batch.org, user=batch.created_by)
        with contextlib.suppress(TaskAlreadyFinished):
            await self._tasks.request_cancellation(command)
        self._cancelled.add(task)

    async def _handle(self, command: domain.Command) -> int:
        try:
            stream = stream_id("gateway", command.org, "batch", command.batch)
        except ValueError:
            raise BatchNotFound(command.batch) from None
        return (await self._handler.handle(BATCH, stream, command)).position
