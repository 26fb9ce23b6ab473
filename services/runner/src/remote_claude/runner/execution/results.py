"""What an attempt leaves: its output, and the files of its result, where they outlive it."""

from __future__ import annotations

from remote_claude.contracts.runner import Result
from remote_claude.runner.sessions import WorkerResult
from remote_claude.runtime.objects import Objects


async def keep(objects: Objects, org: str, result: WorkerResult) -> Result:
    """Store the worker's files. Raises `OSError` when there is no room."""
    files = [file for file in (result.bundle, result.patch, result.artifacts) if file]
    return Result(
        size=sum(file.stat().st_size for file in files),
        base=result.base,
        sent=result.sent,
        commit=result.commit,
        bundle=await objects.put_file(org, result.bundle) if result.bundle else None,
        patch=await objects.put_file(org, result.patch) if result.patch else None,
        artifacts=await objects.put_file(org, result.artifacts) if result.artifacts else None,
    )
