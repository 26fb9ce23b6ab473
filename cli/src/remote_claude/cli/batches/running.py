"""The run of a batch: submits what is missing, follows all of it, and sums it up."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from remote_claude.cli.batches.items import BATCH_LABEL, ITEM_LABEL, Batch, Item, idempotency_key
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.render import TERMINAL_STATES

if TYPE_CHECKING:
    from remote_claude.cli.client import CliClient

PAUSE_S = 0.5
WAITING, REFUSED = "not submitted", "refused"
"""States of an item that is no task: it has not been submitted yet; the server would not take it."""


@dataclass(slots=True)
class BatchEntry:
    """An item and its task, as far as it is known."""

    item: Item
    id: str | None = None
    state: str = WAITING
    detail: str | None = None
    task: dict[str, Any] = field(default_factory=dict)
    cost: int | None = None  # nano-dollars, once the task has ended

    @property
    def is_running(self) -> bool:
        return self.id is not None and self.state not in TERMINAL_STATES

    @property
    def has_failed(self) -> bool:
        return self.state == REFUSED or (self.state in TERMINAL_STATES and self.state != "succeeded")


class Run:
    """One run of a batch. `repo_of` makes the repository of a request; `changed` is called at every change of state."""

    def __init__(
        self,
        client: CliClient,
        batch: Batch,
        repo_of: Callable[[Item], dict[str, Any] | None],
        changed: Callable[[BatchEntry], None] = lambda _: None,
    ) -> None:
        self.batch = batch
        self.entries = [BatchEntry(item) for item in batch.items]
        self.submitted = 0
        self._client, self._repo_of, self._changed = client, repo_of, changed

    def pick_up(self) -> int:
        """Find what an earlier run has submitted; returns how many tasks that is."""
        self._refresh()
        return sum(entry.id is not None for entry in self.entries)

    def submit_all(self) -> None:
        """Submit what has not been, without waiting for any of it."""
        for entry in self.entries:
            if entry.id is None:
                self._submit(entry)

    def follow(self, max_parallel: int | None, *, fail_fast: bool, tick: Callable[[], None]) -> None:
        """Bring every item to its end. With `fail_fast` the first failure cancels what runs, and no more is submitted."""
        missing = deque(entry for entry in self.entries if entry.id is None)
        cancelled = False
        while True:
            stopped = fail_fast and any(entry.has_failed for entry in self.entries)
            if stopped and not cancelled:
                cancelled = True
                self._cancel_all()
            running = sum(entry.is_running for entry in self.entries)
            if missing and not stopped and (max_parallel is None or running < max_parallel):
                self._submit(missing.popleft())
                tick()
                continue
            if not running and (stopped or not missing):
                return
            time.sleep(PAUSE_S)
            self._refresh()
            tick()

    def summary(self) -> dict[str, Any]:
        """What became of the batch, for programs."""
        states = Counter(entry.state for entry in self.entries)
        succeeded = states["succeeded"] == len(self.entries)
        unfinished = any(entry.is_running for entry in self.entries)
        return {
            "name": self.batch.name,
            "state": "succeeded" if succeeded else "running" if unfinished else "failed",
            "total": len(self.entries),
            "submitted": self.submitted,
            "states": dict(sorted(states.items())),
            "total_nano_usd": sum(entry.cost or 0 for entry in self.entries),
            "items": [
                {
                    "item": entry.item.key,
                    "id": entry.id,
                    "state": entry.state.replace(" ", "_"),
                    "reason": entry.task.get("reason"),
                    "detail": entry.detail,
                    "exit_code": entry.task.get("exit_code"),
                    "repo": entry.item.repo,
                    "cost_nano_usd": entry.cost,
                }
                for entry in self.entries
            ],
        }

    def _submit(self, entry: BatchEntry) -> None:
        item = entry.item
        labels = {**item.body["labels"], BATCH_LABEL: self.batch.name, ITEM_LABEL: item.key}
        body = {**item.body, "labels": labels}
        try:
            if (repo := self._repo_of(item)) is not None:
                body["repo"] = repo
            key = idempotency_key(self.batch.name, item.key)
            task = self._client.post("/v1/tasks", body, idempotency_key=key)
            entry.id, entry.state = str(task["id"]), str(task["state"])
            self.submitted += 1
        except CliError as error:
            if error.code == "idempotency_key_reused":  # submitted before, when its repository was another
                entry.id, entry.state = str(error.extra["id"]), "submitted"
            elif error.exit is Exit.UNREACHABLE:
                raise
            else:
                entry.state, entry.detail = REFUSED, str(error)
        self._changed(entry)

    def _refresh(self) -> None:
        tasks, cursor = {}, None
        while True:
            page = self._client.get(
                "/v1/tasks", label=f"{BATCH_LABEL}:{self.batch.name}", limit=200, cursor=cursor
            )
            tasks.update({task["labels"].get(ITEM_LABEL): task for task in page["tasks"]})
            cursor = page.get("next")
            if not cursor:
                break
        for entry in self.entries:
            task = tasks.get(entry.item.key)
            if task is None or (task["state"] == entry.state and entry.id):
                continue
            entry.id, entry.state, entry.task = task["id"], task["state"], task
            if entry.state in TERMINAL_STATES:
                self._conclude(entry)
            self._changed(entry)

    def _conclude(self, entry: BatchEntry) -> None:
        from remote_claude.cli.commands.tasks import details

        assert entry.id is not None
        entry.task = details(self._client, entry.id, entry.task.get("position"))
        entry.detail = entry.task.get("detail")
        if entry.task["cost"]:
            entry.cost = int(entry.task["cost"]["total_nano_usd"])

    def _cancel_all(self) -> None:
        for entry in self.entries:
            if entry.is_running:
                try:
                    self._client.post(f"/v1/tasks/{entry.id}/cancel")
                except CliError as error:
                    if error.code != "task_already_finished":
                        raise
