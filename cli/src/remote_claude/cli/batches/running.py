"""A batch on the server: handed over in one request, followed over the stream, and summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from remote_claude.cli.batches.items import Batch, Item, idempotency_key
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.render import TERMINAL_STATES

if TYPE_CHECKING:
    from remote_claude.cli.client import CliClient

NOT_SUBMITTED, REFUSED = "not_submitted", "refused"
"""States of an item that is no task: it has not been submitted yet; the server would not take it."""


@dataclass(slots=True)
class BatchEntry:
    """An item as the server has it. `cost` is in nano-dollars, once the batch has ended."""

    key: str
    repo: str | None = None
    known: dict[str, Any] = field(default_factory=lambda: {"state": NOT_SUBMITTED})
    cost: int | None = None

    @property
    def id(self) -> str | None:
        found: str | None = self.known.get("task")
        return found

    @property
    def state(self) -> str:
        return str(self.known["state"])

    @property
    def is_running(self) -> bool:
        return self.id is not None and self.state not in TERMINAL_STATES

    @property
    def has_ended(self) -> bool:
        return self.state == REFUSED or self.state in TERMINAL_STATES

    @property
    def has_failed(self) -> bool:
        return self.has_ended and self.state != "succeeded"


class Run:
    """A batch that is submitted or picked up. `changed` is called at every change of an item's state."""

    def __init__(self, client: CliClient, changed: Callable[[BatchEntry], None] = lambda _: None) -> None:
        self.id, self.name, self.state = "", "", "running"
        self.entries = list[BatchEntry]()
        self.submitted = 0
        """How many items this run has handed over."""
        self.differs = False
        """Whether the batch of this name was submitted with other prompts, settings or files than those at hand."""
        self._client, self._changed = client, changed

    def submit(
        self,
        batch: Batch,
        repo_of: Callable[[Item], dict[str, Any] | None],
        shared: dict[str, Any],
        *,
        max_parallel: int | None,
        stop_on_failure: bool,
    ) -> None:
        """Hand over all items, or find the batch of this name. Raises `CliError`."""
        items = []
        for item in batch.items:
            repo = repo_of(item)
            items.append({"key": item.key, **item.body, **({"repo": repo} if repo is not None else {})})
        body = {
            "name": batch.name,
            "task": shared,
            "items": items,
            "max_parallel": max_parallel,
            "stop_on_failure": stop_on_failure,
        }
        try:
            made = self._client.post("/v1/batches", body, idempotency_key=idempotency_key(batch.name))
        except CliError as error:
            if error.code != "idempotency_key_reused":
                raise
            self.differs = True
            made = {"id": error.extra["id"], "is_new": False, "position": None}
        self.pick_up(str(made["id"]), made["position"])
        if made["is_new"]:
            self.submitted = len(items)
        known = {entry.key: entry for entry in self.entries}
        if new := [item.key for item in batch.items if item.key not in known]:
            raise CliError(
                f"the batch {batch.name} was submitted before without the item {new[0]!r}; give this one another --name",
                Exit.USAGE,
            )
        for item in batch.items:
            known[item.key].repo = item.repo

    def pick_up(self, id: str, position: int | None = None) -> None:
        """Take up a batch that the server has. Raises `CliError`."""
        self.id = id
        found = self._client.get(f"/v1/batches/{id}", min_position=position)
        self.name = found["name"] or id
        self.entries = [BatchEntry(item["key"] or str(item["number"])) for item in found["items"]]
        self._take(found)

    def follow(self, tick: Callable[[], None]) -> None:
        """Follow the batch to its end."""
        if self.state == "running":
            for position in self._client.changes():
                self._take(self._client.get(f"/v1/batches/{self.id}", min_position=position))
                tick()
                if self.state != "running":
                    break
        tick()

    def add_costs(self) -> None:
        """Read what the tasks have cost so far, unless the caller may not."""
        try:
            bill = self._client.get(f"/v1/batches/{self.id}/bill", min_position=self._as_of)
        except CliError as error:
            if error.exit is not Exit.UNREACHABLE and error.code not in ("period_not_found", "scope_missing"):
                raise
            return
        costs = {cost["task"]: int(cost["total_nano_usd"]) for cost in bill["tasks"]}
        for entry in self.entries:
            entry.cost = costs.get(entry.id or "")

    @property
    def page(self) -> str:
        """The URL of its page in the dashboard."""
        target = self._client.target
        org = target.profile.org if target.profile is not None else None
        query = f"?{urlencode({'org': org})}" if org else ""
        return f"{target.url}/batches/{self.id}{query}"

    def summary(self) -> dict[str, Any]:
        """What became of the batch, for programs."""
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "url": self.page,
            "total": len(self.entries),
            "submitted": self.submitted,
            "states": dict(sorted(Counter(entry.state for entry in self.entries).items())),
            "total_nano_usd": sum(entry.cost or 0 for entry in self.entries),
            "items": [
                {
                    "item": entry.key,
                    "id": entry.id,
                    "state": entry.state,
                    "reason": entry.known.get("reason"),
                    "detail": entry.known.get("detail"),
                    "exit_code": entry.known.get("exit_code"),
                    "repo": entry.repo,
                    "cost_nano_usd": entry.cost,
                }
                for entry in self.entries
            ],
        }

    def _take(self, found: dict[str, Any]) -> None:
        self._as_of, self.state = found["as_of"], found["state"]
        for entry, item in zip(self.entries, found["items"], strict=True):
            before, entry.known = entry.state, item
            if entry.state != before:
                self._changed(entry)
