"""A group of candidates: tasks with the same prompt, the judge's task of each, and their order.

The tasks of a group are found again by their labels, so any command on any machine can go on with it.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.render import TERMINAL_STATES
from remote_claude.cli.session import JUDGE_LABEL, TASK_ID, newest_task, task_id

if TYPE_CHECKING:
    from remote_claude.cli.client import CliClient

GROUP_LABEL, CANDIDATE_LABEL = "best-of", "candidate"
"""Labels of the tasks: the group of all of them, the number of a candidate."""


@dataclass(slots=True)
class Candidate:
    """One try. Costs are nano-dollars, known at the end; `lines` are those that it adds and removes."""

    number: int
    task: dict[str, Any]
    judge: dict[str, Any] | None = None
    cost: int | None = None
    judge_cost: int | None = None
    lines: int | None = None

    @property
    def id(self) -> str:
        return str(self.task["id"])

    @property
    def has_ended(self) -> bool:
        """Whether neither the task nor its judge goes on."""
        return self.task["state"] in TERMINAL_STATES and (
            self.judge is None or self.judge["state"] in TERMINAL_STATES
        )

    def passes(self, *, judged: bool) -> bool:
        """Whether it succeeded, and its judge too where the group is `judged`."""
        if self.task["state"] != "succeeded":
            return False
        return not judged or (self.judge is not None and self.judge["state"] == "succeeded")

    def order(self, *, judged: bool) -> tuple[bool, bool, int, int, int]:
        """Sorts the best first: what passes, then what succeeded, then the cheaper one, then the smaller change."""
        large = 10**30
        return (
            not self.passes(judged=judged),
            self.task["state"] != "succeeded",
            large if self.cost is None else self.cost,
            large if self.lines is None else self.lines,
            self.number,
        )


class Group:
    """The candidates of one group. `changed` is called at every change of state."""

    def __init__(
        self,
        client: CliClient,
        name: str,
        changed: Callable[[Candidate], None] = lambda _: None,
        judge_settings: Mapping[str, Any] | None = None,
    ) -> None:
        """`judge_settings` are fields of the requests for the judge's tasks, such as their network."""
        self.name, self.candidates = name, list[Candidate]()
        self._judge_settings = dict(judge_settings or {})
        self._client, self._changed = client, changed
        self._judge: str | None = None

    @property
    def judged(self) -> bool:
        """Whether a judge decides."""
        return self._judge is not None or any(one.judge is not None for one in self.candidates)

    @property
    def best(self) -> list[Candidate]:
        """All candidates, the best first."""
        return sorted(self.candidates, key=lambda one: one.order(judged=self.judged))

    @property
    def winner(self) -> Candidate | None:
        """The best candidate that passes."""
        best = self.best
        return best[0] if best and best[0].passes(judged=self.judged) else None

    @property
    def cost(self) -> int:
        """Nano-dollars of all that has ended, losers and judges too."""
        return sum((one.cost or 0) + (one.judge_cost or 0) for one in self.candidates)

    def submit(self, body: dict[str, Any], agents: list[str], size: int) -> None:
        """Hand over `size` tasks; the agents take turns."""
        for number in range(1, size + 1):
            labels = {**body.get("labels", {}), GROUP_LABEL: self.name, CANDIDATE_LABEL: str(number)}
            best_of = {"group": self.name, "index": number, "size": size}
            request = {**body, "agent": agents[(number - 1) % len(agents)]}
            request |= {"labels": labels, "best_of": best_of}
            key = f"best-of-{self.name}-{number}"
            submitted = self._client.post("/v1/tasks", request, idempotency_key=key)
            task = self._client.get(f"/v1/tasks/{submitted['id']}", min_position=submitted["position"])
            self.candidates.append(Candidate(number, task))
            self._changed(self.candidates[-1])

    def follow(self, judge: str | None, *, until: bool) -> None:
        """Bring every candidate to its end, and judge it. With `until` the first that passes cancels the others."""
        self._judge = judge
        for position in self._client.changes():
            self.refresh(position)
            passed = until and self.winner is not None
            for one in self.candidates:
                if passed:
                    self._stop(one)
                elif judge is not None and one.judge is None and one.task["state"] == "succeeded":
                    one.judge = self._judged(one, judge)
                    self._changed(one)
            if all(one.has_ended for one in self.candidates):
                return

    def refresh(self, position: int | None = None) -> None:
        """Read the tasks of the group, as of a log position or later. Raises `CliError` when there are none."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = self._client.get(
                "/v1/tasks",
                label=f"{GROUP_LABEL}:{self.name}",
                limit=200,
                cursor=cursor,
                min_position=position,
            )
            found += page["tasks"]
            cursor = page.get("next")
            if not cursor:
                break
        known = {one.number: one for one in self.candidates}
        for task in found:
            if number := task["labels"].get(CANDIDATE_LABEL):
                known.setdefault(int(number), Candidate(int(number), task))
        if not known:
            raise CliError(
                f"there is no group {self.name!r}: `rclaude run --best-of 4 ...` makes one", Exit.USAGE
            )
        self.candidates = [known[number] for number in sorted(known)]
        for task in found:
            if number := task["labels"].get(CANDIDATE_LABEL):
                self._update(known[int(number)], task)
            elif (number := task["labels"].get(JUDGE_LABEL)) and int(number) in known:
                self._update_judge(known[int(number)], task)

    def _update(self, one: Candidate, task: dict[str, Any]) -> None:
        changed = task["state"] != one.task["state"]
        one.task = task
        if task["state"] in TERMINAL_STATES and one.cost is None:
            one.cost = self._cost(one.id)
            one.lines = self._lines(one)
        if changed:
            self._changed(one)

    def _update_judge(self, one: Candidate, task: dict[str, Any]) -> None:
        changed = one.judge is None or one.judge["state"] != task["state"]
        one.judge = task
        if task["state"] in TERMINAL_STATES and one.judge_cost is None:
            one.judge_cost = self._cost(task["id"])
        if changed:
            self._changed(one)

    def _cost(self, id: str) -> int:
        from remote_claude.cli.commands.tasks import details

        cost = details(self._client, id)["cost"]
        return int(cost["total_nano_usd"]) if cost else 0

    def _lines(self, one: Candidate) -> int | None:
        if one.task["state"] != "succeeded":
            return None
        try:
            patch = self._client.download(f"/v1/tasks/{one.id}/diff")
        except CliError as error:
            if error.exit is Exit.UNREACHABLE:
                raise
            return 0  # it changed nothing
        return changed_lines(patch)

    def _judged(self, one: Candidate, judge: str) -> dict[str, Any]:
        """The judge's task: the command, in a sandbox of its own, on the files that the candidate left."""
        labels = {GROUP_LABEL: self.name, JUDGE_LABEL: str(one.number)}
        body = {**self._judge_settings, "prompt": judge, "agent": "shell"}
        body |= {"continues": one.id, "labels": labels}
        digest = hashlib.sha256(judge.encode()).hexdigest()[:16]
        key = f"judge-{self.name}-{one.number}-{digest}"
        submitted = self._client.post("/v1/tasks", body, idempotency_key=key)
        found: dict[str, Any] = self._client.get(
            f"/v1/tasks/{submitted['id']}", min_position=submitted["position"]
        )
        return found

    def _stop(self, one: Candidate) -> None:
        for task in (one.task, one.judge):
            if task is not None and task["state"] not in TERMINAL_STATES:
                try:
                    self._client.post(f"/v1/tasks/{task['id']}/cancel")
                except CliError as error:
                    if error.code != "task_already_finished":
                        raise

    def summary(self) -> dict[str, Any]:
        """The comparison, for programs: the best first."""
        winner = self.winner
        return {
            "group": self.name,
            "winner": winner.number if winner else None,
            "total_nano_usd": self.cost,
            "candidates": [
                {
                    "candidate": one.number,
                    "id": one.id,
                    "agent": one.task["agent"],
                    "state": one.task["state"],
                    "exit_code": one.task["exit_code"],
                    "judge": one.judge and {key: one.judge[key] for key in ("id", "state", "exit_code")},
                    "cost_nano_usd": one.cost,
                    "judge_cost_nano_usd": one.judge_cost,
                    "lines": one.lines,
                }
                for one in self.best
            ],
        }


def new_name() -> str:
    """A name for a group that no other has."""
    return uuid.uuid4().hex[:12]


def changed_lines(patch: bytes) -> int:
    """How many lines a patch adds and removes together."""
    return sum(line[:1] in (b"+", b"-") and line[:4] not in (b"+++ ", b"--- ") for line in patch.splitlines())


def group_of(client: CliClient, text: str | None) -> str:
    """The group that is meant: by its name, by any of its tasks, or that of the newest candidate."""
    if text is not None and not TASK_ID.fullmatch(text):
        return text
    if text is None:
        newest = client.get("/v1/tasks", label=GROUP_LABEL, limit=1)["tasks"]
        if not newest:
            raise CliError(
                "there are no candidates yet: `rclaude run --best-of 4 ...` makes some", Exit.USAGE
            )
        return str(newest[0]["labels"][GROUP_LABEL])
    name = client.get(f"/v1/tasks/{text}")["labels"].get(GROUP_LABEL)
    if name is None:
        raise CliError(f"{text} is no candidate: it was not made by `rclaude run --best-of`", Exit.USAGE)
    return str(name)


def candidate_id(client: CliClient, text: str | None, number: int | None) -> str:
    """The task that is meant: candidate `number` of a group, where one is given; otherwise as anywhere.

    Where nothing is given and the newest task is a candidate, its group's winner. Raises `CliError` when none passes.
    """
    if number is None and text is not None:
        return task_id(text, client)
    if number is None:
        newest = newest_task(client)
        if CANDIDATE_LABEL not in newest["labels"] or GROUP_LABEL not in newest["labels"]:
            return str(newest["id"])
        group = Group(client, newest["labels"][GROUP_LABEL])
        group.refresh()
        if group.winner is None:
            raise CliError(
                f"the newest task is a candidate of the group {group.name}, and none of them passes: see "
                f"`rclaude compare {group.name}`, and name the one that you want",
                Exit.USAGE,
                code="no_candidate_passes",
            )
        return group.winner.id
    group = Group(client, group_of(client, text))
    group.refresh()
    found = next((one.id for one in group.candidates if one.number == number), None)
    if found is None:
        raise CliError(
            f"there is no candidate {number}: the group {group.name} has {len(group.candidates)}", Exit.USAGE
        )
    return found
