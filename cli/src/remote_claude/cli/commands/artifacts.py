"""`rclaude artifacts`: the files that a task left for people."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Annotated

import typer

from remote_claude.cli import render
from remote_claude.cli.commands.tasks import Json, TaskArgument
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.session import connect, task_id


def artifacts(
    task: TaskArgument = None,
    download: Annotated[
        Path | None,
        typer.Option("--download", help="Write the files below this folder; none is overwritten."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List or download what a task left in its folder $RCLAUDE_ARTIFACTS."""
    client = connect()
    content = client.download(f"/v1/tasks/{task_id(task, client)}/artifacts")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        files = [member for member in archive if member.isreg()]
        if download is not None:
            for member in files:
                _write(archive, member, download)
        if as_json:
            render.emit([{"name": member.name, "size": member.size} for member in files])
        elif download is not None:
            render.say(f"{len(files)} file{'s' * (len(files) != 1)} in {download}")
        else:
            rows = [(member.name, f"{member.size:,}") for member in files]
            render.table(("artifact", "bytes"), rows, elastic="artifact")


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Below the folder, and through no link: what the archive says is not believed."""
    parts = Path(member.name).parts
    target = folder.joinpath(*parts)
    inside = not Path(member.name).is_absolute() and ".." not in parts
    if not inside or not target.parent.resolve().is_relative_to(folder.resolve()):
        raise CliError(f"the artifact {member.name!r} would be written outside {folder}", Exit.FAILED)
    target.parent.mkdir(parents=True, exist_ok=True)
    source = archive.extractfile(member)
    assert source is not None, "it is a regular file"
    try:
        with target.open("xb") as file:
            file.write(source.read())
    except FileExistsError as error:
        raise CliError(f"{target} is there already: choose another folder", Exit.USAGE) from error
