"""Tasks by what their sealed texts say: opened one page of the view after the other, and compared here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from remote_claude.access.keyring import DataKey
from remote_claude.edge.paging import encode_cursor
from remote_claude.gateway.api import answers
from remote_claude.gateway.api.answer_models import TaskSummary
from remote_claude.gateway.projections.queries import Filter, TaskQueries

SCANNED = 2000
"""How many tasks one request opens at most: what follows is on the next page."""
PAGE = 200


@dataclass(frozen=True, slots=True)
class TextFilter:
    """`words` are in the prompt, a label or the id, whatever their case; `labels` are there, with that value if one is given."""

    words: tuple[str, ...] = ()
    labels: tuple[tuple[str, str | None], ...] = ()
    pull_request: str | None = None

    @classmethod
    def of(cls, words: str | None, labels: Sequence[str], pull_request: str | None = None) -> Self:
        """Labels as `name` or `name:value`; a pull request as its URL."""
        pairs = [label.partition(":") for label in labels]
        return cls(
            tuple((words or "").casefold().split()),
            tuple((name, value if colon else None) for name, colon, value in pairs),
            pull_request.rstrip("/") if pull_request is not None else None,
        )

    def __bool__(self) -> bool:
        return bool(self.words or self.labels or self.pull_request)

    def matches(self, summary: TaskSummary, prompt: str | None, pull_request: str | None) -> bool:
        """Whether a task is meant. `pull_request` is the URL of its own."""
        if self.pull_request is not None and pull_request != self.pull_request:
            return False
        for name, value in self.labels:
            if name not in summary.labels or (value is not None and summary.labels[name] != value):
                return False
        labels = (f"{name}:{value}" for name, value in summary.labels.items())
        text = "\n".join((summary.id, prompt or "", *labels)).casefold()
        return all(word in text for word in self.words)


async def search(
    queries: TaskQueries,
    key: DataKey | None,
    org: str,
    shown: Filter,
    texts: TextFilter,
    limit: int,
    cursor: str | None,
) -> tuple[list[TaskSummary], str | None, int]:
    """At most `limit` tasks, newest first; the cursor to go on from, if there may be more; the first read's `as_of`."""
    if not texts:
        tasks, following, as_of = await queries.page(org, shown, limit, cursor)
        return [answers.summary(task, key) for task in tasks], following, as_of
    found: list[TaskSummary] = []
    reflected: int | None = None
    for _ in range(SCANNED // PAGE):
        page, cursor, as_of = await queries.page(org, shown, PAGE, cursor)
        reflected = as_of if reflected is None else reflected
        for task in page:
            summary = answers.summary(task, key)
            if texts.matches(summary, answers.prompt(task, key), answers.pull_request_url(task, key)):
                found.append(summary)
                if len(found) == limit:
                    return found, encode_cursor(task.position, task.task), reflected
        if cursor is None:
            break
    return found, cursor, reflected or 0
