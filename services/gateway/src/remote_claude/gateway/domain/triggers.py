"""A trigger: what a forge says has happened, and whether that starts a task."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, assert_never

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


def is_signed(secret: str, body: bytes, signature: str) -> bool:
    """Whether GitHub's `X-Hub-Signature-256` is that of this body."""
    digest = hmac.new(secret.encode(), body, sha256).hexdigest()
    return hmac.compare_digest(f"sha256={digest}", signature)


def from_github(kind: str, payload: Mapping[str, Any], rules: TriggerRules) -> TaskStart | Ignored:
    """What an event of GitHub (`X-GitHub-Event`) starts. Raises `KeyError` or `TypeError` for one without its fields."""
    match kind, payload.get("action"):
        case "issue_comment", "created":
            words, requester = str(payload["comment"]["body"]).strip(), payload["comment"]["user"]["login"]
            if words.split(maxsplit=1)[:1] != [rules.command]:
                return Ignored(f"the comment does not begin with {rules.command}")
            words = words.removeprefix(rules.command).strip()
            key = f"comment-{payload['comment']['id']}"
        case "issues", "labeled":
            words, requester = "", payload["sender"]["login"]
            if rules.label is None or payload["label"]["name"] != rules.label:
                return Ignored("it is not the trigger's label")
            key = f"label-{payload['issue']['id']}-{payload['issue']['updated_at']}"
        case _:
            return Ignored("this kind of event starts nothing")
    if str(requester).casefold() not in {login.casefold() for login in rules.allow}:
        return Ignored(f"{requester} is not allowed to start tasks")
    repository, issue = payload["repository"], payload["issue"]
    name = str(repository["full_name"])
    if name.casefold() not in {one.casefold() for one in rules.repositories}:
        return Ignored(f"{name} is not a repository of this trigger")
    if issue.get("pull_request"):
        return Ignored("comments on pull requests start nothing")
    place = f"{name}#{int(issue['number'])}"
    text = f"{issue['title']}\n\n{issue.get('body') or ''}".strip()[:MAX_TEXT]
    prompt = f"{words or 'Do what this issue asks for.'}\n\nThe issue {place}:\n\n{text}"
    labels = {"issue": place, "asked-by": str(requester)}
    return TaskStart(
        key=key, prompt=prompt.replace("\0", ""), url=str(repository["clone_url"]), labels=labels
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTrigger:
    trigger: str
    org: str
    user: str
    forge: str
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
