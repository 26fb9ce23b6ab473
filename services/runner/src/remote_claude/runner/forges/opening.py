"""Opens pull requests: pushes the result of a task to its branch, then asks the forge. Only its outbox's worker does so."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased
from remote_claude.contracts.base import Sealed
from remote_claude.contracts.contexts import (
    attempt_checks_context,
    attempt_summary_context,
    pull_request_base_context,
    pull_request_detail_context,
    pull_request_labels_context,
    pull_request_reviewers_context,
    pull_request_title_context,
    pull_request_url_context,
    repository_ref_context,
)
from remote_claude.contracts.gateway import PullRequestOptions, RemoteRepository, TaskSubmitted
from remote_claude.contracts.runner import (
    AttemptFinished,
    PullRequestEvent,
    PullRequestFailed,
    PullRequestOpened,
    Result,
)
from remote_claude.eventsourcing.events import stream_id
from remote_claude.eventsourcing.postgres.effects import Done, Outbox, Park, Retry, Verdict
from remote_claude.eventsourcing.postgres.outbox_table import OutboxRow
from remote_claude.runner.forges.client import (
    ForgeClient,
    ForgeFailed,
    NewPullRequest,
    OpenPullRequest,
)
from remote_claude.runner.forges.connection import Connection, connect
from remote_claude.runner.forges.description import Check, placed, quiet, section, with_notes
from remote_claude.runner.forges.finished import read_finished, read_work
from remote_claude.runner.forges.forge_token import signing_key
from remote_claude.runner.forges.pushing import push
from remote_claude.runner.lineage import lineage
from remote_claude.runner.projections.pull_requests import OpeningRow, PullRequestsView
from remote_claude.runner.settings import RunnerSettings
from remote_claude.runtime.objects import ObjectNotFound
from remote_claude.runtime.service import Runtime

MAX_TITLE = 200
PUSH_S = 300.0
"""How long a push may take."""


@dataclass(frozen=True, slots=True)
class _Task:
    """A task whose result is to become a pull request. `line` begins with it, and ends with the task that it continues."""

    line: Sequence[TaskSubmitted]
    finished: AttemptFinished
    result: Result
    attempt: int

    @property
    def submitted(self) -> TaskSubmitted:
        return self.line[0]

    @property
    def branch(self) -> str:
        return f"rclaude/{self.line[-1].task}"

    @property
    def follows(self) -> bool:
        return len(self.line) > 1


class PullRequestOpenings:
    """Pushes and opens. Repeated, it finds the pull request that is open already."""

    def __init__(self, client: httpx2.AsyncClient, runtime: Runtime) -> None:
        self._client, self._runtime = client, runtime

    async def perform(self, row: OutboxRow) -> Verdict:
        """Open it. What passes by itself is tried again; the rest waits for `rclaude pr TASK`."""
        org, task = row.payload["org"], row.payload["task"]
        try:
            async with asyncio.timeout(PUSH_S):
                return Done(await self._open(org, task, row.payload["attempt"]))
        except TimeoutError:
            error = ForgeFailed(
                "forge_unreachable",
                f"The forge took longer than {PUSH_S:g} s. Try again: `rclaude pr TASK`.",
                passing=True,
            )
        except ForgeFailed as failed:
            error = failed
        except (KeyErased, KeyUnusable) as erased:
            return Park(erased.code)
        detail = await self._sealed(org, str(error).replace("TASK", task), pull_request_detail_context(task))
        if error.passing:
            return Retry(error.code, detail, after=error.retry_after)
        return Park(error.code, detail)

    def outcome(self, row: OutboxRow, verdict: Done | Park) -> PullRequestEvent:
        """The event that settles it."""
        org, task = row.payload["org"], row.payload["task"]
        match verdict:
            case Done(result):
                return PullRequestOpened(org=org, task=task, **result)
            case Park(reason, detail):
                return PullRequestFailed(org=org, task=task, reason=reason, detail=detail)

    async def _sealed(self, org: str, text: str, context: str) -> Sealed | None:
        try:
            return (await self._runtime.keyring.get(org)).seal(text, context)
        except (KeyErased, KeyUnusable):
            return None

    async def _open(self, org: str, task: str, attempt: int) -> dict[str, Any]:
        """The fields of `PullRequestOpened`. Raises `ForgeFailed`, `KeyErased`, `KeyUnusable`."""
        job = await self._task(org, task, attempt)
        connection = await connect(self._runtime, job.line)
        forge = connection.client(self._client)
        found = await forge.find(job.branch)
        commit = job.result.commit
        if found is None or job.follows:
            commit, subject = await self._push(org, connection, job)
        if found is None:
            found = await self._create(forge, job, connection.source, subject)
        else:
            await forge.update(found.number, placed(await self._section(job), found.body))
        key = await self._runtime.keyring.get(org)
        return {
            "forge": connection.place.forge.name,
            "number": found.number,
            "url": key.seal(found.url, pull_request_url_context(task)),
            "branch": job.branch,
            "commit": commit,
        }

    async def _task(self, org: str, task: str, attempt: int) -> _Task:
        log = self._runtime.log
        submitted: TaskSubmitted = (await log.read_stream(stream_id("gateway", org, "task", task)))[0].event
        finished = await read_finished(log, org, task, attempt)
        result = finished.result if finished is not None else None
        if finished is None or result is None or result.commit is None or result.bundle is None:
            raise ForgeFailed("nothing_changed", "The task changed nothing, so there is no pull request.")
        return _Task(await lineage(log, submitted), finished, result, attempt)

    async def _push(self, org: str, connection: Connection, job: _Task) -> tuple[str, str]:
        """The id and the subject of the commit that was pushed."""
        result, options = job.result, job.submitted.pull_request or PullRequestOptions()
        assert result.bundle is not None
        assert result.commit is not None
        with tempfile.TemporaryDirectory(prefix="rclaude-push-") as name:
            folder, bundle = Path(name) / "repository", Path(name) / "result.bundle"
            folder.mkdir()
            try:
                with bundle.open("wb") as file:
                    async for piece in self._runtime.objects.stream(org, result.bundle):
                        file.write(piece)
            except ObjectNotFound as error:
                raise ForgeFailed(
                    "result_missing", "The result of the task is not in the object store any more."
                ) from error
            return await push(
                connection.place.repository.url,
                connection.credential,
                bundle=bundle,
                base=result.base,
                commit=result.commit,
                branch=job.branch,
                folder=folder,
                follows=job.follows,
                workflows=options.workflows,
                signing_key=await signing_key(self._runtime, org),
            )

    async def _create(
        self, forge: ForgeClient, job: _Task, source: TaskSubmitted, subject: str
    ) -> OpenPullRequest:
        """Opened, with its reviewers and labels; what of these the forge refuses is noted in the description."""
        task, options = job.submitted.task, job.submitted.pull_request or PullRequestOptions()
        base = await self._base(task, options, source) or await forge.default_branch()
        body = placed(await self._section(job), await forge.template(base))
        title = await self._opened(options.title, pull_request_title_context(task)) or quiet(subject)
        wanted = NewPullRequest(
            head=job.branch,
            base=base,
            title=title if len(title) <= MAX_TITLE else title[: MAX_TITLE - 1] + "…",
            body=body,
            draft=options.draft,
            reviewers=json.loads(
                await self._opened(options.reviewers, pull_request_reviewers_context(task)) or "[]"
            ),
            labels=json.loads(await self._opened(options.labels, pull_request_labels_context(task)) or "[]"),
        )
        found = await forge.open(wanted)
        if notes := [str(refused) for refused in await forge.add(found.number, wanted)]:
            await forge.update(found.number, with_notes(body, notes))
        return found

    async def _base(self, task: str, options: PullRequestOptions, source: TaskSubmitted) -> str | None:
        assert isinstance(source.repository, RemoteRepository)
        given = await self._opened(options.base, pull_request_base_context(task))
        return given or await self._opened(source.repository.ref, repository_ref_context(source.task))

    async def _section(self, job: _Task) -> str:
        """Our section of the description: the newest task's summary and checks, and the cost of each task."""
        task, finished = job.submitted.task, job.finished
        summary = await self._opened(finished.summary, attempt_summary_context(task, job.attempt))
        checks = await self._opened(finished.checks, attempt_checks_context(task, job.attempt))
        works = [await read_work(self._runtime.log, one.org, one.task) for one in job.line]
        return section(
            summary or "",
            [Check(str(command), int(code)) for command, code in json.loads(checks or "[]")],
            works,
            self._runtime.settings.public_url,
        )

    async def _opened(self, sealed: Sealed | None, context: str) -> str | None:
        return await self._runtime.keyring.open(sealed, context) if sealed is not None else None


def outbox(runtime: Runtime, settings: RunnerSettings) -> Outbox:
    """The runner's outbox, for the host to work."""

    @asynccontextmanager
    async def openings() -> AsyncIterator[PullRequestOpenings]:
        async with httpx2.AsyncClient(timeout=30.0, follow_redirects=False) as client:
            yield PullRequestOpenings(client, runtime)

    return Outbox(
        view=PullRequestsView(), table=OpeningRow, open=openings, give_up_s=settings.pull_request_give_up_s
    )
