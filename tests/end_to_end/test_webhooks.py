"""What an operator does with webhooks, on a stack that runs."""

import asyncio
import json

from standardwebhooks import Webhook

from product import Product
from receiver import heard, receiving
from servers import until


def test_a_webhook_is_added_told_listed_and_removed(stack: Product) -> None:
    org = owner(stack)
    with receiving() as receiver:
        added = stack.admin("webhook", "add", org, receiver.url)
        assert added.code == 0, added.err
        hook, secret = added.out.split()
        task = stack.submit("exit 3")
        [told] = asyncio.run(heard(receiver, 1))
        body = Webhook(secret).verify(told.content, told.headers)
        assert (body["type"], body["data"]["task"]) == ("task.failed", task)

        until(lambda: listed(stack, org)[0]["delivered"] == 1, "the delivery to be seen", 60, pause=0.2)
        [row] = listed(stack, org)
        assert (row["id"], row["url"], row["pending"], row["failed"]) == (hook, receiver.url, 0, 0)
        events = stack.events()
        [outcome] = [event for event in events if event["type"] == "WebhookDelivered"]
        assert (outcome["id"], outcome["task"]) == (told.id, task)
        assert secret not in str(events) + str(row)
        assert receiver.url not in str(events)

        assert stack.admin("webhook", "remove", org, hook).out == f"{hook} is removed\n"
    stack.verified()


def test_an_admin_makes_lists_and_removes_a_webhook(stack: Product) -> None:
    with receiving() as receiver:
        made = stack.run("webhook", "create", receiver.url)
        assert made.code == 0, made.err
        hook, secret = made.out.split()
        task = stack.submit("true")
        [told] = asyncio.run(heard(receiver, 1))
        assert Webhook(secret).verify(told.content, told.headers)

        def deliveries() -> list[dict[str, object]]:
            rows: list[dict[str, object]] = stack.run("webhook", "deliveries", hook, "--json").json
            return rows

        until(lambda: deliveries()[0]["outcome"] == "delivered", "the delivery to be seen", 60, pause=0.2)
        assert [(row["task"], row["status"]) for row in deliveries()] == [(task, 204)]
        assert receiver.url in stack.run("webhook", "list").out
        assert stack.run("webhook", "remove", hook).code == 0
        assert stack.run("webhook", "list", "--json").json == []


def listed(stack: Product, org: str) -> list[dict[str, object]]:
    done = stack.admin("webhook", "list", org, "--json")
    assert done.code == 0, done.err
    rows: list[dict[str, object]] = done.json
    return rows


def owner(stack: Product) -> str:
    return str(json.loads((stack.home / "owner.json").read_text())["org"])


def test_what_can_not_be_is_refused_by_name(stack: Product) -> None:
    for command, said in (
        (("add", owner(stack), "ftp://127.0.0.1/"), "http://host/"),
        (("remove", owner(stack), "no.token"), "There is no webhook 'no.token'"),
    ):
        done = stack.admin("webhook", *command)
        assert (done.code, said in done.err) == (2, True), done.err
