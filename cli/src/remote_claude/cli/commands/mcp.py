"""`rclaude mcp`: an MCP server on standard input and output, or over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from remote_claude.cli import config, repository
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.session import connect, connect_or_start


def mcp(
    http: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Serve HTTP on this port of 127.0.0.1, at /mcp.")
    ] = None,
    repo: Annotated[
        str | None,
        typer.Option(
            help="The repository that tasks start from; the current one, but over HTTP none unless given."
        ),
    ] = None,
) -> None:
    """Serve tasks to clients of the Model Context Protocol, such as editors and other agents."""
    try:
        from remote_claude.cli.mcp import http as over_http
        from remote_claude.cli.mcp.tools import server
    except ImportError as error:
        raise CliError(
            f"the MCP server needs the package {error.name}: install `remote-claude[mcp]`", Exit.USAGE
        ) from error
    if http is not None:
        target = (connect() if config.target() is not None else connect_or_start()).target
        over_http.serve(target, _place(repo) if repo is not None else None, http)
        return
    place = _place(repo) if repo is not None or repository.find(Path.cwd()) is not None else None
    server(lambda _: connect_or_start(), place).run("stdio")


def _place(repo: str | None) -> Path:
    place = Path(repo) if repo is not None else Path.cwd()
    found = repository.find(place) if place.is_dir() else None
    if found is None:
        raise CliError(f"{place} is not in a Git repository", Exit.USAGE)
    return found.top
