"""From the body of a request to a command: what it names is checked, what it says is sealed."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TypeVar
from uuid import UUID

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from remote_claude.access.keyring import DataKey
from remote_claude.access.principal import Principal
from remote_claude.access.teams import label_hash
from remote_claude.access.vault import read_vault
from remote_claude.contracts import Sealed, canonical_json
from remote_claude.contracts.contexts import (
    agent_options_context,
    author_context,
    labels_context,
    prompt_context,
    pull_request_base_context,
    pull_request_labels_context,
    pull_request_reviewers_context,
    pull_request_title_context,
    repository_ref_context,
    repository_url_context,
    team_labels_context,
)
from remote_claude.contracts.gateway import (
    BestOf,
    BundleRepository,
    ForgeThread,
    PullRequestOptions,
    RemoteRepository,
    Repository,
    TaskSubmitted,
)
from remote_claude.contracts.refusals import Refusal
from remote_claude.contracts.runner import CAPABILITIES
from remote_claude.edge.problems import Problem
from remote_claude.gateway.api.models import AgentOptions, SubmitRequest
from remote_claude.gateway.domain.offers import Offers
from remote_claude.gateway.domain.policies import Choices, Policies, apply
from remote_claude.gateway.domain.refusals import (
    BundleNotFound,
    LabelOfTeam,
    ModelKeyNeeded,
    NotInTeam,
    PullRequestNeedsUrl,
    TaskNotFinished,
    TaskNotFound,
)
from remote_claude.gateway.domain.repositories import check_url, identity
from remote_claude.gateway.domain.task import SubmitTask
from remote_claude.gateway.handlers import SubmissionResult, TaskHandlers
from remote_claude.gateway.month_budgets import MonthBudgets
from remote_claude.gateway.projections.queries import TaskQueries, check_seen
from remote_claude.runtime.ids import derived_id, is_id
from remote_claude.runtime.service import Runtime

NAMESPACE = UUID("0b0c2f0f-7d1c-5c53-8a3f-1d9a8f3f9c11")
"""Ids of tasks that were submitted with an Idempotency-Key derive from here."""

Model = TypeVar("Model", bound=BaseModel)
MAX_PROMPT_BYTES = 64 * 1024
CONTINUED_WAIT_S = 2.0
"""How long a submission waits for the view to show the end of the task that it continues."""


def parse(body: bytes) -> SubmitRequest:
    """The request in a body. Raises `RequestValidationError`, and `Problem` for a prompt that is too long."""
    request = parse_as(SubmitRequest, body)
    check_prompt(request.prompt)
    return request


def check_prompt(prompt: str) -> None:
    """Raises `Problem` for one that is too long."""
    size = len(prompt.encode())
    if size > MAX_PROMPT_BYTES:
        raise Problem(
            413,
            "prompt_too_large",
            f"The prompt is {size} bytes of UTF-8; at most {MAX_PROMPT_BYTES} fit. Put the rest into the repository.",
        )


def parse_as(model: type[Model], body: bytes) -> Model:
    """The model in a body. Raises `RequestValidationError`."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False, include_input=False)) from error


class Submissions:
    """Turns a request into a command: checks what it names, seals what it says."""

    def __init__(
        self,
        runtime: Runtime,
        offers: Offers,
        policies: Policies,
        months: MonthBudgets,
        handlers: TaskHandlers,
        queries: TaskQueries,
    ) -> None:
        self._runtime, self._offers, self._handlers, self._queries = runtime, offers, handlers, queries
        self._policies, self._months = policies, months

    async def submit(
        self,
        who: Principal,
        request: SubmitRequest,
        idempotency_key: str | None,
        started_by: str | None = None,
        batch_item: int | None = None,
        thread: ForgeThread | None = None,
    ) -> SubmissionResult:
        """`started_by` is the schedule, the trigger or the batch that submits it, `batch_item` the number of its
        item, `thread` the issue or pull request that a trigger was called on.

        Raises what `TaskHandlers.submit` raises, and refusals of what the request names.
        """
        key = await self._runtime.keyring.get(who.org)
        if idempotency_key is None:
            task = self._runtime.new_id("task")
        else:
            task = derived_id("task", NAMESPACE, who.org, who.user, idempotency_key)
        allowed = request
        try:
            allowed = await self._allowed(who, request)
            await self._check(who, allowed)
            allowed = self._with_labels(who, allowed, key)
        except Refusal:  # a task that was accepted once is not refused for what has changed since
            if idempotency_key is None or not await self._handlers.is_submitted(who.org, task):
                raise
        body_hash = key.fingerprint(canonical_json(request.model_dump(mode="json", exclude_defaults=True)))
        return await self._handlers.submit(
            SubmitTask(
                _submission(who, allowed, key, task, body_hash).model_copy(
                    update={"started_by": started_by, "batch_item": batch_item, "thread": thread}
                )
            )
        )

    async def check_runnable(self, who: Principal, request: SubmitRequest) -> None:
        """For what is submitted later: whether its agent could run now, with the policy's defaults. Raises refusals."""
        await self._check_agent(who, self._with_defaults(who.org, request))

    async def _allowed(self, who: Principal, request: SubmitRequest) -> SubmitRequest:
        """The request with the defaults of its organisation. Raises `PolicyForbids`, `BudgetExhausted`, `BudgetUnknown`."""
        request = self._with_defaults(who.org, request)
        team = _team(who, request)
        if self._policies.of(who.org).has_budget(who.user, team):
            await self._months.check(who.org, who.user, team)
        return request.model_copy(update={"team": team})

    def _with_defaults(self, org: str, request: SubmitRequest) -> SubmitRequest:
        """The request with the defaults of its organisation's rules. Raises `PolicyForbids`."""
        rules = self._policies.of(org).rules
        if rules is None:
            return request
        chosen = Choices(**{field.name: getattr(request, field.name) for field in fields(Choices)})
        return request.model_copy(update=asdict(apply(rules, chosen)))

    def _with_labels(self, who: Principal, request: SubmitRequest, key: DataKey) -> SubmitRequest:
        """The request with the labels of its team. Raises `LabelOfTeam` for one of another team."""
        teams = self._runtime.verifier.teams
        if not teams.has_labels(who.org):
            return request
        labels = dict(request.labels)
        team = teams.get(who.org, request.team) if request.team is not None else None
        if request.team is not None and team is not None and team.labels is not None:
            labels |= orjson.loads(key.open(team.labels, team_labels_context(request.team)))
        for name, value in labels.items():
            if teams.owner_of_label(who.org, label_hash(key, name, value)) not in (None, request.team):
                raise LabelOfTeam(name)
        return request.model_copy(update={"labels": labels})

    async def _check(self, who: Principal, request: SubmitRequest) -> None:
        org, repo = who.org, request.repo
        await self._check_agent(who, request)
        follows = repo is None and request.continues is not None
        if (
            request.pull_request is not None
            and not follows
            and (repo is None or repo.url is None or not repo.url.startswith(("https://", "http://")))
        ):
            raise PullRequestNeedsUrl
        if repo is not None and repo.url is not None:
            check_url(repo.url)
        elif repo is not None and repo.bundle is not None:
            if repo.origin is not None:
                check_url(repo.origin)
            if not await self._runtime.objects.exists(org, repo.bundle):
                raise BundleNotFound(repo.bundle)
        if request.checkpoint is not None and not await self._runtime.objects.exists(org, request.checkpoint):
            raise BundleNotFound(request.checkpoint)
        if request.continues is not None:
            await self._check_continued(who, request.continues)

    async def _check_agent(self, who: Principal, request: SubmitRequest) -> None:
        """Whether a runner offers the agent, and what it needs is there."""
        wanted = {name: getattr(request, ASKED_AS.get(name, name)) for name in CAPABILITIES}
        self._offers.check(request.agent, request.provider, wanted, who.org)
        own_model = self._offers.without_model(request.agent, who.org)
        if request.secrets or own_model:
            vault = await read_vault(self._runtime.log, who.org)
            for name in request.secrets:
                vault.secret(name, who.user)
            if own_model and vault.model(who.user, request.agent) is None:
                raise ModelKeyNeeded(request.agent)

    async def _check_continued(self, who: Principal, task: str) -> None:
        if not is_id("task", task):
            raise TaskNotFound(task)
        await self._queries.caught_up(self._runtime.tail.position, CONTINUED_WAIT_S)  # its end may be news
        row, _ = await self._queries.get(who.org, task)
        check_seen(who, row)
        if not row.progress.terminal:
            raise TaskNotFinished(task, row.progress.state)


def _team(who: Principal, request: SubmitRequest) -> str | None:
    """The team of a task: the one that is named, otherwise the first of the person. Raises `NotInTeam`."""
    if request.team is None:
        return next(iter(who.teams), None)
    if request.team not in who.teams:
        raise NotInTeam(request.team)
    return request.team


ASKED_AS = {"budget": "budget_nano_usd"}
"""The field of a submission that asks for a capability, where it has another name."""


def _submission(
    who: Principal, request: SubmitRequest, key: DataKey, task: str, body_hash: str
) -> TaskSubmitted:
    labels = request.labels
    return TaskSubmitted(
        task=task,
        org=who.org,
        user=who.user,
        prompt=key.seal(request.prompt, prompt_context(task)),
        agent=request.agent,
        model=request.model,
        permission_mode=request.permission_mode,
        agent_options=_sealed_agent_options(request, key, task),
        provider=request.provider,
        image=request.image,
        network=request.network,
        secrets=tuple(request.secrets),
        budget_nano_usd=request.budget_nano_usd,
        continues=request.continues,
        checkpoint=request.checkpoint,
        best_of=BestOf(**request.best_of.model_dump()) if request.best_of else None,
        repository=_sealed_repository(request, key, task),
        repository_hash=_repository_hash(request, key),
        pull_request=_pull_request(request, key, task),
        feedback=request.feedback,
        patch_only=request.patch_only,
        author=key.seal(request.author.model_dump_json(), author_context(task)) if request.author else None,
        max_attempts=request.max_attempts,
        timeout_s=request.timeout_s,
        priority=request.priority,
        team=request.team,
        labels=key.seal(orjson.dumps(labels).decode(), labels_context(task)) if labels else None,
        label_hashes={_hash(key, "label", name): label_hash(key, name, labels[name]) for name in labels},
        body_hash=body_hash,
    )


def _sealed_agent_options(request: SubmitRequest, key: DataKey, task: str) -> Sealed | None:
    options = request.agent_options
    if options is None or options == AgentOptions():
        return None
    return key.seal(options.model_dump_json(exclude_defaults=True), agent_options_context(task))


def _pull_request(request: SubmitRequest, key: DataKey, task: str) -> PullRequestOptions | None:
    wanted = request.pull_request
    if wanted is None:
        return None
    return PullRequestOptions(
        draft=wanted.draft,
        base=key.seal(wanted.base, pull_request_base_context(task)) if wanted.base else None,
        title=key.seal(wanted.title, pull_request_title_context(task)) if wanted.title else None,
        reviewers=_sealed_list(wanted.reviewers, key, pull_request_reviewers_context(task)),
        labels=_sealed_list(wanted.labels, key, pull_request_labels_context(task)),
        workflows=wanted.workflows,
    )


def _sealed_list(texts: list[str], key: DataKey, context: str) -> Sealed | None:
    return key.seal(orjson.dumps(texts).decode(), context) if texts else None


def _hash(key: DataKey, *parts: str) -> str:
    return key.fingerprint(canonical_json(parts))


def _repository_hash(request: SubmitRequest, key: DataKey) -> str | None:
    repo = request.repo
    url = repo and (repo.url or repo.origin)
    return _hash(key, "repository", identity(url)) if url else None


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
