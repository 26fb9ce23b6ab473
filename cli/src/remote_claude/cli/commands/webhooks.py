"""Commands about webhooks: addresses that get a request when a task of the organisation ends."""

from __future__ import annotations

from typing import Annotated

import typer

from remote_claude.cli import render
from remote_claude.cli.commands.tasks import Json
from remote_claude.cli.session import connect

app = typer.Typer(no_args_is_help=True, help="Webhooks: addresses that get a request when a task ends.")

Hook = Annotated[str, typer.Argument(help="The webhook's id, hook_...")]


@app.command()
def create(
    url: Annotated[str, typer.Argument(help="Where to post to, http:// or https://.")],
    slack: Annotated[
        bool, typer.Option("--slack", help="Post a text, as an incoming webhook of Slack takes it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Add a webhook; prints its id and its signing secret, which is shown only now."""
    made = connect().post("/v1/webhooks", {"url": url, "format": "slack" if slack else "standard"})
    if as_json:
        render.emit(made)
        return
    print(f"{made['id']} {made['secret']}")


@app.command("list")
def list_webhooks(as_json: Json = False) -> None:
    """Show the webhooks of the organisation, and the outcomes of their deliveries."""
    found = connect().get("/v1/webhooks")["webhooks"]
    if as_json:
        render.emit(found)
        return
    rows = [
        (h["id"], h["url"] or "-", str(h["delivered"]), str(h["failed"]), str(h["pending"]), h["last"] or "-")
        for h in found
    ]
    render.table(("webhook", "url", "delivered", "failed", "pending", "last"), rows, elastic="url")


@app.command()
def deliveries(hook: Hook, as_json: Json = False) -> None:
    """Show the last deliveries of a webhook, newest first, those that are pending too."""
    found = connect().get(f"/v1/webhooks/{hook}/deliveries")["deliveries"]
    if as_json:
        render.emit(found)
        return
    rows = [
        (d["task"] or "a quota", d["outcome"], d["reason"] or str(d["status"] or "-"), d["at"]) for d in found
    ]
    render.table(("task", "outcome", "answer", "at"), rows, elastic="task")


@app.command()
def replay(hook: Hook, task: Annotated[str, typer.Argument(help="The task whose end is posted.")]) -> None:
    """Post the end of a task to a webhook once more, also one that ended before the webhook was added."""
    connect().post(f"/v1/webhooks/{hook}/deliveries", {"task": task})
    render.say(f"`rclaude webhook deliveries {hook}` shows what comes of it")


@app.command()
def remove(hook: Hook) -> None:
    """Remove a webhook. Deliveries that are still pending are dropped."""
    connect().delete(f"/v1/webhooks/{hook}")
    render.say(f"{hook} is removed")
