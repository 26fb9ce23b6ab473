"""From the body of a request to a command: what it names is checked, what it says is sealed."""

from __future__ import annotations

from uuid import UUID

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from remote_claude.access.keyring import DataKey
from remote_claude.access.principal import Principal
from remote_claude.contracts import canonical_json
from remote_claude.contracts.contexts import (
    labels_context,
    prompt_context,
    repository_ref_context,
    repository_url_context,
)
from remote_claude.contracts.gateway import BundleRepository, RemoteRepository, Repository
from remote_claude.contracts.refusals import Refusal
from remote_claude.edge.problems import Problem
from remote_claude.gateway.api.models import SubmitRequest
from remote_claude.gateway.domain.agents import Agents
from remote_claude.gateway.domain.refusals import BundleNotFound
from remote_claude.gateway.domain.repositories import check_url
from remote_claude.gateway.domain.task import SubmitTask
from remote_claude.gateway.handlers import Submission, TaskHandlers
from remote_claude.runtime.ids import derived_id
from remote_claude.runtime.service import Runtime

NAMESPACE = UUID("0b0c2f0f-7d1c-5c53-8a3f-1d9a8f3f9c11")
"""Ids of tasks that were submitted with an Idempotency-Key derive from here."""

MAX_PROMPT_BYTES = 64 * 1024


def parse(body: bytes) -> SubmitRequest:
    """The request in a body. Raises `RequestValidationError`, and `Problem` for a prompt that is too long."""
    try:
        request = SubmitRequest.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(
            error.errors(include_url=False, include_context=False, include_input=False)
        ) from error
    size = len(request.prompt.encode())
    if size > MAX_PROMPT_BYTES:
        raise Problem(
            413,
            "prompt_too_large",
            f"The prompt is {size} bytes of UTF-8; at most {MAX_PROMPT_BYTES} fit. Put the rest into the repository.",
        )
    return request


class Submissions:
    """Turns a request into a command: checks what it names, seals what it says."""

    def __init__(self, runtime: Runtime, agents: Agents, handlers: TaskHandlers) -> None:
        self._runtime, self._agents, self._handlers = runtime, agents, handlers

    async def submit(self, who: Principal, request: SubmitRequest, idempotency_key: str | None) -> Submission:
        """Raises what `TaskHandlers.submit` raises, and refusals of the agent and the repository."""
        key = await self._runtime.keyring.get(who.org)
        if idempotency_key is None:
            task = self._runtime.new_id("task")
        else:
            task = derived_id("task", NAMESPACE, who.org, who.user, idempotency_key)
        try:
            await self._check(who.org, request)
        except Refusal:  # what was taken once is not refused for what has changed since
            if idempotency_key is None or not await self._handlers.is_submitted(who.org, task):
                raise
        command = SubmitTask(
            task=task,
            org=who.org,
            user=who.user,
            prompt=key.seal(request.prompt, prompt_context(task)),
            agent=request.agent,
            repository=_sealed_repository(request, key, task),
            max_attempts=request.max_attempts,
            timeout_s=request.timeout_s,
            priority=request.priority,
            labels=key.seal(orjson.dumps(request.labels).decode(), labels_context(task))
            if request.labels
            else None,
            body_hash=key.fingerprint(canonical_json(request.model_dump(mode="json"))),
        )
        return await self._handlers.submit(command)

    async def _check(self, org: str, request: SubmitRequest) -> None:
        self._agents.check(request.agent)
        repo = request.repo
        if repo is None:
            return
        if repo.url is not None:
            check_url(repo.url)
        elif repo.bundle is not None and not await self._runtime.objects.exists(org, repo.bundle):
            raise BundleNotFound(repo.bundle)


def _sealed_repository(request: SubmitRequest, key: DataKey, task: str) -> Repository | None:
    repo = request.repo
    if repo is None:
        return None
    if repo.bundle is not None:
        return BundleRepository(sha256=repo.bundle)
    assert repo.url is not None
    return RemoteRepository(
        url=key.seal(repo.url, repository_url_context(task)),
        ref=key.seal(repo.ref, repository_ref_context(task)) if repo.ref else None,
    )
