"""Commands about secrets, and about keys of one's own for a model."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from remote_claude.cli import render
from remote_claude.cli.commands.tasks import Json
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.session import connect

secret_app = typer.Typer(
    no_args_is_help=True,
    help="Secrets that tasks use: the sandbox has placeholders, the value goes to named hosts.",
)
model_app = typer.Typer(
    no_args_is_help=True, help="Keys of your own for a model; what they cost is not on the bill."
)


class ModelKind(StrEnum):
    """What a model's service speaks."""

    anthropic = "anthropic"
    openai = "openai"
    bedrock = "bedrock"
    vertex = "vertex"
    gemini = "gemini"


OfOrg = Annotated[bool, typer.Option("--org", help="The organisation's, for all of its members.")]


def _path(kind: str, name: str, of_org: bool) -> str:
    return f"/v1/{'org' if of_org else 'me'}/{kind}/{name}"


def _value(what: str) -> str:
    """From standard input, or asked for without showing it; the newline at the end is not part of it."""
    if sys.stdin.isatty():
        value: str = typer.prompt(what, hide_input=True, err=True)
    else:
        value = sys.stdin.read()
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise CliError(f"there is no {what} on standard input", Exit.USAGE)
    return value


@secret_app.command("set")
def set_secret(
    name: Annotated[str, typer.Argument(help="Capital letters, digits and _: the variable in the sandbox.")],
    host: Annotated[
        list[str] | None,
        typer.Option(help="HOST[:PORT] that its value may go to, by HTTPS; may be given again."),
    ] = None,
    as_env: Annotated[
        bool, typer.Option("--as-env", help="Give the sandbox the value itself: the agent can read it.")
    ] = False,
    of_org: OfOrg = False,
) -> None:
    """Store a secret; its value comes from standard input. Use it with `rclaude run --secret NAME`."""
    if bool(host) == as_env:
        raise CliError("name the hosts that it may go to with --host HOST, or give --as-env", Exit.USAGE)
    body = {"value": _value("value"), "hosts": host or [], "as_env": as_env}
    connect().put(_path("secrets", name, of_org), body)
    render.say(f"{name} is stored" + ("; the agent of a task that names it can read it" if as_env else ""))


@secret_app.command("list")
def list_secrets(as_json: Json = False) -> None:
    """Show the secrets that your tasks can use; never their values."""
    found = connect().get("/v1/org/secrets")["secrets"]
    if as_json:
        render.emit(found)
        return
    rows = [
        (s["name"], s["of"], ", ".join(s["hosts"]) or ("readable in the sandbox" if s["as_env"] else "-"))
        for s in found
    ]
    render.table(("secret", "of", "goes to"), rows, elastic="goes to")


@secret_app.command("remove")
def remove_secret(
    name: Annotated[str, typer.Argument(help="Its name.")],
    of_org: OfOrg = False,
) -> None:
    """Remove a secret: tasks that start from now on do not get it."""
    connect().delete(_path("secrets", name, of_org))
    render.say(f"{name} is removed")


@model_app.command("add")
def add_model(
    name: Annotated[str, typer.Argument(help="What you call it, such as anthropic.")] = "anthropic",
    kind: Annotated[
        ModelKind, typer.Option(help="The API of the model's service.", case_sensitive=False)
    ] = ModelKind.anthropic,
    token: Annotated[
        bool,
        typer.Option(
            "--token", help="Of Anthropic: a token, sent as `Authorization: Bearer`, not an API key."
        ),
    ] = False,
    base_url: Annotated[
        str | None,
        typer.Option(help="The address of a service that speaks this API; the vendor's if left out."),
    ] = None,
    region: Annotated[str | None, typer.Option(help="Of Bedrock and Vertex, such as us-east-1.")] = None,
    project: Annotated[str | None, typer.Option(help="Of Vertex: the project in Google Cloud.")] = None,
    model: Annotated[
        str | None, typer.Option(help="The model of tasks that name none; Bedrock and Vertex need one.")
    ] = None,
    of_org: OfOrg = False,
) -> None:
    """Store a model key from standard input, once the model's service has taken it. The first one is used at once."""
    value = _value("key")
    if kind is ModelKind.vertex and value.lstrip().startswith("{"):
        value = " ".join(value.split())  # the file of a service account's key has several lines
    body: dict[str, Any] = {
        "value": value,
        "provider": kind.value,
        "kind": "token" if token else "key",
        "base_url": base_url,
        "region": region,
        "project": project,
        "model": model,
    }
    connect().put(_path("models", name, of_org), {k: v for k, v in body.items() if v is not None})
    render.say(f"{name} is stored")


@model_app.command("list")
def list_models(as_json: Json = False) -> None:
    """Show the model keys, and the one that your tasks use. Without one, they use the operator's."""
    found = connect().get("/v1/org/models")["models"]
    if as_json:
        render.emit(found)
        return
    rows = [
        (m["name"], m["of"], m["provider"], m["base_url"], m["model"] or "-", "yes" if m["used"] else "")
        for m in found
    ]
    render.table(("key", "of", "kind", "service", "model", "used"), rows, elastic="service")


@model_app.command("use")
def use_model(
    name: Annotated[str | None, typer.Argument(help="Its name; with --none, leave it out.")] = None,
    none: Annotated[
        bool, typer.Option("--none", help="None of these: the next in line, at last the operator's.")
    ] = False,
    of_org: OfOrg = False,
) -> None:
    """Choose the model key that tasks use from now on: yours, then the organisation's, then the operator's."""
    if (name is None) != none:
        raise CliError("give the name of a key, or --none", Exit.USAGE)
    connect().put("/v1/org/model" if of_org else "/v1/me/model", {"name": name})
    render.say(f"{name} is used" if name else "none of these keys is used")


@model_app.command("remove")
def remove_model(
    name: Annotated[str, typer.Argument(help="Its name.")],
    of_org: OfOrg = False,
) -> None:
    """Remove a model key."""
    connect().delete(_path("models", name, of_org))
    render.say(f"{name} is removed")
