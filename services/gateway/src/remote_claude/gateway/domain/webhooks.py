"""Webhooks: the addresses that get the end of each task and the permissions that agents ask for, the message, and its signature (standardwebhooks.com, `v1`)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal, assert_never
from urllib.parse import urlsplit

from standardwebhooks import Webhook

from remote_claude.contracts import Event, Sealed, canonical_json
from remote_claude.contracts.gateway import WebhookAdded, WebhookRemoved, WebhookReplayRequested
from remote_claude.contracts.refusals import Refusal
from remote_claude.contracts.scheduler import (
    TaskCancelled,
    TaskFailed,
    TaskRejected,
    TaskSucceeded,
    TaskTimedOut,
)

SECRET = "whsec_"  # noqa: S105  # the prefix of every secret
MAX_URL = 2048
QUOTA_ALERT = "quota.threshold_reached"

Format = Literal["standard", "slack"]
"""What is posted to a webhook."""

ENDS: Mapping[str, str] = {
    TaskSucceeded.type: "succeeded",
    TaskFailed.type: "failed",
    TaskCancelled.type: "cancelled",
    TaskTimedOut.type: "timed_out",
    TaskRejected.type: "rejected",
}
"""What ends a task, and the state that it is in from then on."""


class WebhookRefused(Refusal):
    """A command on a webhook is refused; nothing was recorded."""


class WebhookNotFound(WebhookRefused):
    code: ClassVar[str] = "webhook_not_found"
    status: ClassVar[int] = 404

    def __init__(self, hook: str) -> None:
        super().__init__(
            f"There is no webhook {hook[:64]!r} of this organisation. `rclaude webhook list` shows those that there are."
        )


class NothingToReplay(WebhookRefused):
    code: ClassVar[str] = "nothing_to_replay"
    status: ClassVar[int] = 409

    def __init__(self, task: str) -> None:
        super().__init__(f"The task {task} has not ended: its end is posted when it comes.")


class WebhookUrlRefused(WebhookRefused):
    code: ClassVar[str] = "webhook_url_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddWebhook:
    hook: str
    org: str
    url: Sealed
    secret: Sealed
    format: Format = "standard"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveWebhook:
    hook: str
    org: str


@dataclass(frozen=True, slots=True)
class ReplayDelivery:
    """`requested` is recorded as it is."""

    requested: WebhookReplayRequested


Command = AddWebhook | RemoveWebhook | ReplayDelivery


@dataclass(frozen=True, slots=True)
class NotAdded:
    """It does not exist."""


@dataclass(frozen=True, slots=True)
class Added:
    """It gets the end of each task."""


@dataclass(frozen=True, slots=True)
class RemovedWebhook:
    """It gets nothing more."""


State = NotAdded | Added | RemovedWebhook

initial_state: State = NotAdded()


def decide(command: Command, state: State) -> list[Event]:
    """The events to record; none when it is recorded already. Raises `WebhookNotFound`."""
    match command:
        case AddWebhook(hook=hook, org=org, url=url, secret=secret, format=format):
            if isinstance(state, NotAdded):
                return [WebhookAdded(hook=hook, org=org, url=url, secret=secret, format=format)]
        case RemoveWebhook(hook=hook, org=org):
            if isinstance(state, NotAdded):
                raise WebhookNotFound(hook)
            if isinstance(state, Added):
                return [WebhookRemoved(hook=hook, org=org)]
        case ReplayDelivery(requested=requested):
            if not isinstance(state, Added):
                raise WebhookNotFound(requested.hook)
            return [requested]
        case _:
            assert_never(command)
    return []


def evolve(state: State, event: Event) -> State:
    """The state after an event. Other events change nothing."""
    match event:
        case WebhookAdded():
            return Added()
        case WebhookRemoved():
            return RemovedWebhook()
        case _:
            return state


def check_url(url: str) -> None:
    """Raises `WebhookUrlRefused` for what is not an address of http or https."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        named = False
    if not named or parts.scheme not in ("http", "https") or parts.fragment:
        raise WebhookUrlRefused("The URL has to be http://host/... or https://host/..., without a fragment.")
    if len(url) > MAX_URL or not url.isascii() or any(c <= " " or c == "\x7f" for c in url):
        raise WebhookUrlRefused(f"The URL has to be of at most {MAX_URL} printable ASCII characters.")


def secret_of(random: bytes) -> str:
    """A signing secret as people copy it."""
    return SECRET + b64encode(random).decode()


def body(payload: Mapping[str, Any], occurred_at: str) -> bytes:
    """The message: the same bytes at every attempt. A replay's payload has the time of the end as `ended_at`.

    A payload without a task is an alert about a quota."""
    data = dict(payload)
    ended_at = data.pop("ended_at", occurred_at)
    if "task" not in data:
        return canonical_json({"type": QUOTA_ALERT, "timestamp": ended_at, "data": data})
    kind = "permission_requested" if "permission" in data else data["state"]
    return canonical_json({"type": f"task.{kind}", "timestamp": ended_at, "data": data})


def slack_body(payload: Mapping[str, Any], public_url: str) -> bytes:
    """The message for a Slack-compatible incoming webhook: `text` in Slack's `mrkdwn`, with a link to the task."""
    if "task" not in payload:
        text = (
            f"*{payload['percent']} %* of the quota of {payload['meter']} are used: "
            f"{payload['used']} of {payload['limit']} in {payload['period']}"
        )
        return canonical_json({"text": slack_text(text)})
    task = payload["task"]
    link = f"<{public_url}/tasks/{task}|{task}>" if public_url else f"`{task}`"
    if "permission" in payload:
        asks = slack_text(f"asks for a permission: {payload['tool']}. Answer: ")
        return canonical_json({"text": f"{link} {asks}`rclaude answer {task}`"})
    return canonical_json({"text": f"{link} *{payload['state'].replace('_', ' ')}*"})


def slack_text(text: str) -> str:
    """The three characters that Slack reads as markup are escaped (docs.slack.dev, *Formatting message text*)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def headers(secret: str, key: str, sent_at: int, content: bytes) -> dict[str, str]:
    """The signature of a message. `sent_at` is in seconds since the epoch. Raises `ValueError` for what is no secret."""
    signature = Webhook(secret).sign(key, datetime.fromtimestamp(sent_at, UTC), content.decode())
    return {"webhook-id": key, "webhook-timestamp": str(sent_at), "webhook-signature": signature}
