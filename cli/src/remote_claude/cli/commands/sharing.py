"""`rclaude share`: links with which anyone may read one task."""

from __future__ import annotations

from typing import Annotated

import typer

from remote_claude.cli import render
from remote_claude.cli.session import connect

app = typer.Typer(no_args_is_help=True, help="Links with which anyone may read one task.")

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Task = Annotated[str, typer.Argument(help="The id of a task.")]


@app.command("create")
def create_share(
    task: Task,
    days: Annotated[int, typer.Option(min=1, max=90, help="How long the link is good.")] = 7,
    as_json: Json = False,
) -> None:
    """Make a link to a page that shows the task to anyone who has the link: conversation, output and patch."""
    client = connect()
    made = client.post(f"/v1/tasks/{task}/shares", {"days": days})
    url = client.target.url + made["path"]
    if as_json:
        render.emit({**made, "url": url})
        return
    render.note(
        f"anyone with this link reads the task until {render.local_time(made['expires_at'])}; "
        f"`rclaude share revoke {task} {made['id']}` ends it"
    )
    print(url)


@app.command("list")
def list_shares(task: Task, as_json: Json = False) -> None:
    """List the links of a task that are good."""
    found = connect().get(f"/v1/tasks/{task}/shares")
    if as_json:
        render.emit(found)
        return
    rows = [
        (
            one["id"],
            one["created_by"],
            render.local_time(one["created_at"]),
            render.local_time(one["expires_at"]),
        )
        for one in found["shares"]
    ]
    render.table(("link", "by", "made", "expires"), rows)


@app.command("revoke")
def revoke_share(
    task: Task, share: Annotated[str, typer.Argument(help="The id of the link, as `list` shows it.")]
) -> None:
    """End a link: it opens nothing from now on."""
    connect().delete(f"/v1/tasks/{task}/shares/{share}")
    render.say("revoked")
