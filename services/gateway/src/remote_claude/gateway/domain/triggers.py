"""A trigger: what a forge says has happened, and whether that starts a task."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, assert_never

from pydantic import BaseModel, ConfigDict

from remote_claude.contracts import Event, Sealed
from remote_claude.contracts.gateway import TriggerCreated, TriggerRemoved
from remote_claude.gateway.domain.refusals import TriggerNotFound

MAX_TEXT = 32_000
"""Characters of an issue that the prompt has."""


class TriggerRules(BaseModel):
    """Who may start what. `allow` are logins on the forge, `repositories` are `owner/name`.

    A comment starts a task when it begins with `command`; a label when it is `label`.
    """

    model_config = ConfigDict(frozen=True)

    allow: tuple[str, ...]
    repositories: tuple[str, ...]
    command: str = "/rclaude"
    label: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStart:
    """A task to start. `key` is the same for the same happening, however often the forge reports it."""

    key: str
    prompt: str
    url: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing starts. `reason` is for who reads the forge's list of deliveries."""

    reason: str


Forge = Literal["github", "gitea", "gitlab"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgeEvent:
    """What a forge reports, as far as all forges have it. `words` follow the command; they are empty for a label."""

    key: str
    words: str
    requester: str
    repository: str
    clone_url: str
    issue: int
    title: str
    text: str


def is_signed(forge: Forge, secret: str, body: bytes, headers: Mapping[str, str]) -> bool:
    """Whether a body comes from the forge: GitHub and Gitea sign it, GitLab sends the secret. Names of headers in lower case."""
    digest = hmac.new(secret.encode(), body, sha256).hexdigest()
    match forge:
        case "github":
            name, expected = "x-hub-signature-256", f"sha256={digest}"
        case "gitea":
            name, expected = "x-gitea-signature", digest
        case "gitlab":
            name, expected = "x-gitlab-token", secret
        case _:
            assert_never(forge)
    return hmac.compare_digest(expected.encode(), headers.get(name, "").encode())


def from_forge(
    forge: Forge, headers: Mapping[str, str], payload: Mapping[str, Any], rules: TriggerRules
) -> TaskStart | Ignored:
    """What an event starts. Raises `KeyError` or `TypeError` for one without its fields."""
    match forge:
        case "github":
            event = _github(headers.get("x-github-event", ""), payload, rules)
        case "gitea":
            event = _gitea(headers.get("x-gitea-event", ""), payload, rules)
        case "gitlab":
            event = _gitlab(payload, rules)
        case _:
            assert_never(forge)
    if isinstance(event, Ignored):
        return event
    if event.requester.casefold() not in {login.casefold() for login in rules.allow}:
        return Ignored(f"{event.requester} is not allowed to start tasks")
    if event.repository.casefold() not in {one.casefold() for one in rules.repositories}:
        return Ignored(f"{event.repository} is not a repository of this trigger")
    place = f"{event.repository}#{event.issue}"
    text = f"{event.title}\n\n{event.text}".strip()[:MAX_TEXT]
    prompt = f"{event.words or 'Do what this issue asks for.'}\n\nThe issue {place}:\n\n{text}"
    labels = {"issue": place, "asked-by": event.requester}
    return TaskStart(key=event.key, prompt=prompt.replace("\0", ""), url=event.clone_url, labels=labels)


def _command(comment: Any, rules: TriggerRules) -> str | Ignored:
    """What follows the command in a comment."""
    words = str(comment).strip()
    if words.split(maxsplit=1)[:1] != [rules.command]:
        return Ignored(f"the comment does not begin with {rules.command}")
    return words.removeprefix(rules.command).strip()


def _github(kind: str, payload: Mapping[str, Any], rules: TriggerRules) -> ForgeEvent | Ignored:
    """docs.github.com/webhooks/webhook-events-and-payloads: `issue_comment` and `issues`."""
    match kind, payload.get("action"):
        case "issue_comment", "created":
            words, requester = (
                _command(payload["comment"]["body"], rules),
                payload["comment"]["user"]["login"],
            )
            key = f"comment-{payload['comment']['id']}"
        case "issues", "labeled":
            words, requester = "", payload["sender"]["login"]
            if rules.label is None or payload["label"]["name"] != rules.label:
                return Ignored("it is not the trigger's label")
            key = f"label-{payload['issue']['id']}-{payload['issue']['updated_at']}"
        case _:
            return Ignored("this kind of event starts nothing")
    if isinstance(words, Ignored):
        return words
    repository, issue = payload["repository"], payload["issue"]
    if issue.get("pull_request"):
        return Ignored("comments on pull requests start nothing")
    return ForgeEvent(
        key=key,
        words=words,
        requester=str(requester),
        repository=str(repository["full_name"]),
        clone_url=str(repository["clone_url"]),
        issue=int(issue["number"]),
        title=str(issue["title"]),
        text=str(issue.get("body") or ""),
    )


def _gitea(kind: str, payload: Mapping[str, Any], rules: TriggerRules) -> ForgeEvent | Ignored:
    """docs.gitea.com/usage/webhooks. Comments have GitHub's fields; an event of labels does not say which one is new."""
    if kind != "issue_comment" or payload.get("is_pull"):
        return Ignored("of Gitea only comments on issues start tasks")
    return _github(kind, payload, rules)


def _gitlab(payload: Mapping[str, Any], rules: TriggerRules) -> ForgeEvent | Ignored:
    """docs.gitlab.com/user/project/integrations/webhook_events: comments on issues (`note`), and `issue`."""
    found, project = payload["object_attributes"], payload["project"]
    match payload.get("object_kind"), found.get("action", "create"):
        case "note", "create":
            if found.get("noteable_type") != "Issue":
                return Ignored("only comments on issues start tasks")
            words, issue, key = _command(found["note"], rules), payload["issue"], f"comment-{found['id']}"
            if isinstance(words, Ignored):
                return words
        case "issue", ("open" | "update") as action:
            before, after = _labels(payload, action)
            if rules.label is None or rules.label not in after - before:
                return Ignored("the trigger's label was not added")
            words, issue, key = "", found, f"label-{found['id']}-{found['updated_at']}"
        case _:
            return Ignored("this kind of event starts nothing")
    return ForgeEvent(
        key=key,
        words=words,
        requester=str(payload["user"]["username"]),
        repository=str(project["path_with_namespace"]),
        clone_url=str(project["git_http_url"]),
        issue=int(issue["iid"]),
        title=str(issue["title"]),
        text=str(issue.get("description") or ""),
    )


def _labels(payload: Mapping[str, Any], action: str) -> tuple[set[str], set[str]]:
    """Of GitLab: the labels of an issue before and after what is reported."""
    if action == "open":
        return set(), {label["title"] for label in payload.get("labels") or ()}
    change = (payload.get("changes") or {}).get("labels") or {}
    before, after = ({label["title"] for label in change.get(name) or ()} for name in ("previous", "current"))
    return before, after


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTrigger:
    trigger: str
    org: str
    user: str
    forge: Forge
    secret: Sealed
    rules: Sealed
    request: Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveTrigger:
    trigger: str
    org: str
    user: str


Command = CreateTrigger | RemoveTrigger


@dataclass(frozen=True, slots=True)
class TriggerNotCreated:
    """Nothing is known of it."""


@dataclass(frozen=True, slots=True)
class ActiveTrigger:
    """It starts tasks."""


@dataclass(frozen=True, slots=True)
class RemovedTrigger:
    """It starts nothing more."""


State = TriggerNotCreated | ActiveTrigger | RemovedTrigger
initial_state: State = TriggerNotCreated()


def decide(command: Command, state: State) -> list[Event]:
    """What is to be recorded. Raises `TriggerNotFound`."""
    match command:
        case CreateTrigger():
            if isinstance(state, TriggerNotCreated):
                return [
                    TriggerCreated(
                        trigger=command.trigger,
                        org=command.org,
                        user=command.user,
                        forge=command.forge,
                        secret=command.secret,
                        rules=command.rules,
                        request=command.request,
                    )
                ]
        case RemoveTrigger():
            if isinstance(state, TriggerNotCreated):
                raise TriggerNotFound(command.trigger)
            if isinstance(state, ActiveTrigger):
                return [TriggerRemoved(trigger=command.trigger, org=command.org, user=command.user)]
        case _:
            assert_never(command)
    return []


def evolve(state: State, event: Event) -> State:
    """The state after an event."""
    match event:
        case TriggerCreated():
            return ActiveTrigger()
        case TriggerRemoved():
            return RemovedTrigger()
        case _:
            return state
