"""What an attempt starts from: the submission, its prompt, the repository as a bundle, and the last checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased
from remote_claude.contracts.contexts import prompt_context, repository_ref_context, repository_url_context
from remote_claude.contracts.gateway import (
    BundleRepository,
    RemoteRepository,
    TaskCancellationRequested,
    TaskMessageSent,
    TaskSubmitted,
)
from remote_claude.contracts.scheduler import TaskAssigned
from remote_claude.eventsourcing.events import stream_id
from remote_claude.outbound import AllowedHosts
from remote_claude.runner.execution import remote_source
from remote_claude.runner.execution.remote_source import SourceFailed
from remote_claude.runner.forges import github
from remote_claude.runner.forges.tokens import forge_token
from remote_claude.runtime.objects import ObjectNotFound
from remote_claude.runtime.service import Runtime


class Unstartable(Exception):
    """The attempt can't start, and would not another time: `code` says why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True, slots=True)
class Submission:
    """The task as its user asked for it. `cancelled` before this attempt began."""

    submitted: TaskSubmitted
    prompt: str
    cancelled: bool
    messages: tuple[TaskMessageSent, ...]
    """Those sent so far."""


async def read_submission(runtime: Runtime, assigned: TaskAssigned) -> Submission:
    """From the log. Raises `Unstartable` where the prompt can't be opened."""
    stream = stream_id("gateway", assigned.org, "task", assigned.task)
    history = [recorded.event for recorded in await runtime.log.read_stream(stream)]
    submitted: TaskSubmitted = history[0]
    try:
        prompt = await runtime.keyring.open(submitted.prompt, prompt_context(submitted.task))
    except (KeyErased, KeyUnusable) as error:
        raise Unstartable(error.code, str(error)) from error
    cancelled = any(isinstance(event, TaskCancellationRequested) for event in history)
    messages = tuple(event for event in history if isinstance(event, TaskMessageSent))
    return Submission(submitted, prompt, cancelled, messages)


async def fetch_repository(
    runtime: Runtime,
    submitted: TaskSubmitted,
    target: Path,
    *,
    limits: remote_source.Limits,
    allowed: AllowedHosts,
    github_api: str,
) -> Path | None:
    """The repository as a bundle in `target`: fetched outside the sandbox, which has no network of its own.

    None without a repository. Raises `Unstartable`.
    """
    keyring, objects = runtime.keyring, runtime.objects
    match submitted.repository:
        case None:
            return None
        case BundleRepository(sha256=sha256):
            try:
                with target.open("wb") as file:
                    async for piece in objects.stream(submitted.org, sha256):
                        file.write(piece)
            except ObjectNotFound as error:
                raise Unstartable("bundle_not_found", f"no bundle {sha256}") from error
        case RemoteRepository(url=url, ref=ref):
            try:
                opened = await keyring.open(url, repository_url_context(submitted.task))
                at = await keyring.open(ref, repository_ref_context(submitted.task)) if ref else None
                token = None
                if github.repository(github_api, opened) is not None:
                    text = await forge_token(runtime.log, keyring, submitted.org, "github")
                    token = remote_source.Token(github.git_origin(github_api), text) if text else None
                await remote_source.fetch(opened, at, target, limits=limits, allowed=allowed, token=token)
            except (KeyErased, KeyUnusable, SourceFailed) as error:
                raise Unstartable(error.code, str(error)) from error
    return target
