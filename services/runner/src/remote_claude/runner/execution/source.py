"""What an attempt starts from: the submission, its prompt, the repository as a bundle, and the last checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased
from remote_claude.contracts.contexts import (
    agent_options_context,
    author_context,
    prompt_context,
    repository_ref_context,
    repository_url_context,
)
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
from remote_claude.outbound.forges import Forges
from remote_claude.runner.execution import remote_source
from remote_claude.runner.execution.remote_source import SourceFailed
from remote_claude.runner.forges.client import ForgeFailed
from remote_claude.runner.forges.forge_token import forge_token
from remote_claude.runner.forges.kinds import place_of
from remote_claude.runner.forges.pushing import Credential
from remote_claude.runtime.objects import ObjectNotFound
from remote_claude.runtime.service import Runtime


class Unstartable(Exception):
    """The attempt can't start, and would not another time: `code` says why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True, slots=True)
class RequestedTask:
    """The task as its user asked for it. `cancelled` before this attempt began."""

    submitted: TaskSubmitted
    prompt: str
    author: dict[str, str] | None
    """`name` and `email` of who the commit is by."""
    cancelled: bool
    messages: tuple[TaskMessageSent, ...]
    """Those sent so far."""


async def read_submission(runtime: Runtime, assigned: TaskAssigned) -> RequestedTask:
    """From the log. Raises `Unstartable` where the prompt can't be opened."""
    stream = stream_id("gateway", assigned.org, "task", assigned.task)
    history = [recorded.event for recorded in await runtime.log.read_stream(stream)]
    submitted: TaskSubmitted = history[0]
    try:
        prompt = await runtime.keyring.open(submitted.prompt, prompt_context(submitted.task))
        author = (
            json.loads(await runtime.keyring.open(submitted.author, author_context(submitted.task)))
            if submitted.author is not None
            else None
        )
    except (KeyErased, KeyUnusable) as error:
        raise Unstartable(error.code, str(error)) from error
    cancelled = any(isinstance(event, TaskCancellationRequested) for event in history)
    messages = tuple(event for event in history if isinstance(event, TaskMessageSent))
    return RequestedTask(submitted, prompt, author, cancelled, messages)


async def agent_options(runtime: Runtime, line: Sequence[TaskSubmitted]) -> dict[str, Any]:
    """What Claude Code is told besides its prompt: by the task, otherwise by the nearest of those that it continues.

    Raises `Unstartable`.
    """
    for submitted in line:
        if submitted.agent_options is not None:
            context = agent_options_context(submitted.task)
            try:
                return dict(json.loads(await runtime.keyring.open(submitted.agent_options, context)))
            except (KeyErased, KeyUnusable) as error:
                raise Unstartable(error.code, str(error)) from error
    return {}


async def fetch_repository(
    runtime: Runtime,
    submitted: TaskSubmitted,
    target: Path,
    *,
    limits: remote_source.SourceLimits,
    allowed: AllowedHosts,
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
                credential = await _credential(runtime, submitted.org, submitted.user, opened)
                await remote_source.fetch(
                    opened, at, target, limits=limits, allowed=allowed, credential=credential
                )
            except (KeyErased, KeyUnusable, SourceFailed, ForgeFailed) as error:
                raise Unstartable(error.code, str(error)) from error
    return target


async def _credential(runtime: Runtime, org: str, user: str, url: str) -> Credential | None:
    """A token for the forge of a repository, if there is one. Raises `ForgeFailed`."""
    place = place_of(Forges(runtime.settings.forges), url)
    if place is None:
        return None
    token = await forge_token(runtime, org, place.forge, user)
    return Credential(place.forge, place.kind.git_user, token) if token is not None else None
