"""What the gateway decides about webhooks, what they are told, and how it is signed."""

import hmac
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from given import Decider
from remote_claude.contracts import EVENTS, Event, Sealed
from remote_claude.contracts.gateway import WebhookAdded, WebhookRemoved, WebhookReplayRequested
from remote_claude.contracts.scheduler import TaskRejected, TerminalEvent
from remote_claude.gateway.domain.webhooks import (
    ENDS,
    AddWebhook,
    RemoveWebhook,
    ReplayDelivery,
    State,
    WebhookNotFound,
    WebhookUrlRefused,
    body,
    check_url,
    decide,
    evolve,
    headers,
    initial_state,
    secret_of,
    slack_body,
)

SEALED = Sealed(key="org_1", box="c2VhbGVk")
ADD = AddWebhook(hook="hook_1", org="org_1", url=SEALED, secret=SEALED)
ADDED = WebhookAdded(hook="hook_1", org="org_1", url=SEALED, secret=SEALED)
REMOVE = RemoveWebhook(hook="hook_1", org="org_1")
REMOVED = WebhookRemoved(hook="hook_1", org="org_1")


def fold(events: Sequence[Event]) -> State:
    state = initial_state
    for event in events:
        state = evolve(state, event)
    return state


webhook = Decider(fold, decide)


REPLAYED = WebhookReplayRequested(
    hook="hook_1",
    org="org_1",
    user="user_1",
    task="task_1",
    state="failed",
    event="e",
    position=7,
    ended_at="t",
)


def test_a_delivery_is_made_again_while_the_webhook_is_there() -> None:
    webhook.given(ADDED).when(ReplayDelivery(REPLAYED)).then(REPLAYED)
    webhook.given(ADDED, REPLAYED).when(ReplayDelivery(REPLAYED)).then(REPLAYED)
    for given in ((), (ADDED, REMOVED)):
        webhook.given(*given).when(ReplayDelivery(REPLAYED)).then_refused(WebhookNotFound)


def test_a_webhook_is_added_and_removed_once() -> None:
    webhook.given().when(ADD).then(ADDED)
    webhook.given(ADDED).when(ADD).then()
    webhook.given(ADDED).when(REMOVE).then(REMOVED)
    webhook.given(ADDED, REMOVED).when(REMOVE).then()
    webhook.given(ADDED, REMOVED).when(ADD).then()


def test_a_slack_message_is_a_text_with_a_link_and_without_markup_of_others() -> None:
    end = {"task": "task_1", "org": "org_1", "state": "timed_out", "event": "e", "position": 7}
    assert slack_body(end, "https://rc.example") == (
        b'{"text":"<https://rc.example/tasks/task_1|task_1> *timed out*"}'
    )
    asked = end | {"state": "running", "permission": "p", "tool": "Bash <!channel> & more"}
    assert slack_body(asked, "") == (
        b'{"text":"`task_1` asks for a permission: Bash &lt;!channel&gt; &amp; more. '
        b'Answer: `rclaude answer task_1`"}'
    )
    alert = {"meter": "executions", "percent": 80, "used": 80, "limit": 100, "period": "2026-11"}
    assert b"*80 %* of the quota of executions" in slack_body(alert, "")


def test_what_was_never_added_can_not_be_removed() -> None:
    webhook.given().when(REMOVE).then_refused(WebhookNotFound)


def test_every_end_of_a_task_is_told() -> None:
    ends = {event.type for event in EVENTS.values() if issubclass(event, TerminalEvent)}
    assert ENDS.keys() == ends | {TaskRejected.type}


@pytest.mark.parametrize(
    "url", ["https://example.com/hook", "http://127.0.0.1:8080", "http://u:p@host/x?y=1", "https://[::1]/x"]
)
def test_an_address_of_http_is_taken(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "ftp://host/x", "file:///etc/passwd", "https://", "https:///x", "http://host:99999/",
        "http://host/x#part", "http://host/a b", "http://host/\n", "http://host/ä", "http://host/" + "x" * 2048, "http://[::1",
    ],
)  # fmt: skip
def test_what_is_no_address_of_http_is_refused(url: str) -> None:
    with pytest.raises(WebhookUrlRefused):
        check_url(url)


def test_a_message_is_signed_as_standard_webhooks_has_it() -> None:
    secret, at = secret_of(bytes(range(32))), int(datetime.now(UTC).timestamp())
    content = body({"task": "task_1", "state": "failed", "position": 7}, "2026-11-01T00:00:00.000000Z")
    signed = headers(secret, "6f1d0f5e-4d0a-5d57-9f43-0d6a5b0f2f6e", at, content)
    assert Webhook(secret).verify(content, signed) == {
        "type": "task.failed",
        "timestamp": "2026-11-01T00:00:00.000000Z",
        "data": {"task": "task_1", "state": "failed", "position": 7},
    }
    text = b"%b.%d.%b" % (signed["webhook-id"].encode(), at, content)
    digest = hmac.digest(bytes(range(32)), text, "sha256")
    assert signed["webhook-signature"] == f"v1,{b64encode(digest).decode()}"
