"""Opens pull requests: pushes the result of a task to its branch, then asks the forge. Only its outbox's worker does so."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased
from remote_claude.contracts.base import Sealed
from remote_claude.contracts.contexts import (
    prompt_context,
    pull_request_base_context,
    pull_request_detail_context,
    pull_request_title_context,
    pull_request_url_context,
    repository_ref_context,
    repository_url_context,
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
from remote_claude.runner.forges import github
from remote_claude.runner.forges.github import CONNECT, ForgeFailed, GitHub
from remote_claude.runner.forges.pushing import push
from remote_claude.runner.forges.tokens import forge_token
from remote_claude.runner.lineage import lineage, with_repository
from remote_claude.runner.projections.pull_requests import OpeningRow, PullRequestsView
from remote_claude.runner.settings import RunnerSettings
from remote_claude.runtime.objects import ObjectNotFound
from remote_claude.runtime.service import Runtime

MAX_TITLE = 200
PUSH_S = 300.0
"""How long a push may take."""
NANO = 1_000_000_000


class Openings:
    """Pushes and opens. Repeated, it finds the pull request that is open already."""

    def __init__(self, client: httpx2.AsyncClient, runtime: Runtime, api: str) -> None:
        self._client, self._runtime, self._api = client, runtime, api

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
        submitted, finished = await self._history(org, task, attempt)
        keyring, line = self._runtime.keyring, await lineage(self._runtime.log, submitted)
        with_source = with_repository(line)
        source = with_source.repository
        result = finished.result if finished is not None else None
        if not isinstance(source, RemoteRepository):
            raise ForgeFailed("forge_unknown", "The task's repository has no URL on a forge.")
        url = await keyring.open(source.url, repository_url_context(with_source.task))
        repository = github.repository(self._api, url)
        if repository is None:
            raise ForgeFailed(
                "forge_unknown",
                f"The repository is not on {github.git_origin(self._api)}, the only forge that is known here. Take the "
                "result with `rclaude apply` and push it yourself.",
            )
        if finished is None or result is None or result.commit is None or result.bundle is None:
            raise ForgeFailed("nothing_changed", "The task changed nothing, so there is no pull request.")
        token = await forge_token(self._runtime.log, keyring, org, "github")
        if token is None:
            raise ForgeFailed("forge_token_missing", f"The organisation has no token for GitHub. {CONNECT}")
        forge, branch = GitHub(self._client, self._api, repository, token), f"rclaude/{line[-1].task}"
        found = await forge.find(branch)
        if found is None or len(line) > 1:
            await self._push(org, repository, token, result, branch, follows=len(line) > 1)
        if found is None:
            options = submitted.pull_request or PullRequestOptions()
            found = await forge.open(
                head=branch,
                base=await self._base(task, options, with_source, source) or await forge.default_branch(),
                title=await self._title(submitted, options),
                body=_body(task, finished, attempt, self._runtime.settings.public_url),
                draft=options.draft,
            )
        sealed = (await keyring.get(org)).seal(found.url, pull_request_url_context(task))
        return {
            "forge": "github",
            "number": found.number,
            "url": sealed,
            "branch": branch,
            "commit": result.commit,
        }

    async def _history(
        self, org: str, task: str, attempt: int
    ) -> tuple[TaskSubmitted, AttemptFinished | None]:
        """The submission, and the end of the attempt that succeeded."""
        log = self._runtime.log
        submitted: TaskSubmitted = (await log.read_stream(stream_id("gateway", org, "task", task)))[0].event
        said = await log.read_stream(stream_id("runner", org, "attempt", f"{task}-{attempt}"))
        return submitted, next((r.event for r in said if r.type == AttemptFinished.type), None)

    async def _push(
        self,
        org: str,
        repository: github.Repository,
        token: str,
        result: Result,
        branch: str,
        *,
        follows: bool,
    ) -> None:
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
            await push(
                repository.url,
                github.git_origin(self._api),
                token,
                bundle=bundle,
                base=result.base,
                commit=result.commit,
                branch=branch,
                folder=folder,
                follows=follows,
            )

    async def _base(
        self, task: str, options: PullRequestOptions, with_source: TaskSubmitted, source: RemoteRepository
    ) -> str | None:
        if options.base is not None:
            return await self._runtime.keyring.open(options.base, pull_request_base_context(task))
        if source.ref is not None:
            return await self._runtime.keyring.open(source.ref, repository_ref_context(with_source.task))
        return None

    async def _title(self, submitted: TaskSubmitted, options: PullRequestOptions) -> str:
        """As it was asked for; otherwise the first line of the prompt."""
        keyring, task = self._runtime.keyring, submitted.task
        if options.title is not None:
            return await keyring.open(options.title, pull_request_title_context(task))
        prompt = await keyring.open(submitted.prompt, prompt_context(task))
        line = prompt.strip().splitlines()[0].strip()
        return line if len(line) <= MAX_TITLE else line[: MAX_TITLE - 1] + "…"


def _body(task: str, finished: AttemptFinished, attempts: int, public_url: str) -> str:
    """A table of facts. Nothing of the prompt: that is the organisation's own."""
    nano_usd = finished.usage.cumulative.model_nano_usd if finished.usage is not None else 0
    rows = [
        ("Task", f"`{task}`"),
        ("Attempts", str(attempts)),
        ("Model cost of the last attempt", f"${nano_usd / NANO:.4f}"),
        ("Look at it", f"{public_url.rstrip('/')}/tasks/{task}" if public_url else f"`rclaude show {task}`"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"Opened by Remote Claude.\n\n| | |\n|---|---|\n{table}\n"


def outbox(runtime: Runtime, settings: RunnerSettings) -> Outbox:
    """The runner's outbox, for the host to work."""

    @asynccontextmanager
    async def openings() -> AsyncIterator[Openings]:
        async with httpx2.AsyncClient(timeout=30.0, follow_redirects=False) as client:
            yield Openings(client, runtime, settings.github_api)

    return Outbox(
        view=PullRequestsView(), table=OpeningRow, open=openings, give_up_s=settings.pull_request_give_up_s
    )
