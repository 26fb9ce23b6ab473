"""Checkpoints of a task: kept as content-addressed chunks under a manifest, found again by the next attempt."""

from __future__ import annotations

from pathlib import Path

from remote_claude.contracts.runner import CheckpointSaved
from remote_claude.eventsourcing.events import stream_id
from remote_claude.eventsourcing.log import EventLog
from remote_claude.runner.domain.attempt import SaveCheckpoint
from remote_claude.runtime.manifests import Manifest
from remote_claude.runtime.objects import Objects
from remote_claude.worker.protocol.messages import CheckpointSent

CHUNK = 4 * 1024 * 1024
"""Bytes; chunks that did not change between two checkpoints are stored once."""


async def keep(objects: Objects, org: str, checkpoint: CheckpointSent, archive: Path) -> SaveCheckpoint:
    """Store the archive. Raises `OSError` when there is no room."""
    chunks, size = [], 0
    with archive.open("rb") as file:
        while chunk := file.read(CHUNK):
            chunks.append(await objects.put(org, chunk))
            size += len(chunk)
    manifest = Manifest(turn=checkpoint.turn, messages=checkpoint.messages, size=size, chunks=tuple(chunks))
    stored = await objects.put(org, manifest.model_dump_json().encode())
    return SaveCheckpoint(turn=checkpoint.turn, manifest=stored, size=size)


async def find(log: EventLog, org: str, task: str, before_attempt: int) -> CheckpointSaved | None:
    """The last checkpoint of the attempts before this one."""
    for attempt in range(before_attempt - 1, 0, -1):
        history = await log.read_stream(stream_id("runner", org, "attempt", f"{task}-{attempt}"))
        saved = [r.event for r in history if r.type == CheckpointSaved.type]
        if saved:
            last: CheckpointSaved = saved[-1]
            return last
    return None


async def fetch(objects: Objects, org: str, saved: CheckpointSaved, target: Path) -> Manifest:
    """Write the archive to a file. Raises `ObjectNotFound`."""
    manifest = Manifest.model_validate_json(await objects.get(org, saved.manifest))
    with target.open("wb") as file:
        for chunk in manifest.chunks:
            file.write(await objects.get(org, chunk))
    return manifest


async def fetch_uploaded(objects: Objects, org: str, sha256: str, target: Path) -> None:
    """Write an archive that was uploaded with the task to a file. Raises `ObjectNotFound`."""
    with target.open("wb") as file:
        async for piece in objects.stream(org, sha256):
            file.write(piece)
