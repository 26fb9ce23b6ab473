"""Data keys into a file and back: the broker's bucket `KEYS`, which the archive does not have.

A line a key, as JSON: its name, and the key as the broker has it, wrapped by the key-encryption key.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from pathlib import Path

from nats.aio.client import Client

from remote_claude.eventsourcing.jetstream.streams import KEYS, ensure_bucket, ensure_log_streams, keys
from remote_claude.runtime.durable_files import sync_folder


class NoDataKeys(Exception):
    """The file does not hold data keys."""

    code = "no_data_keys"


async def export_keys(client: Client, path: Path) -> int:
    """Write every data key into a new file, readable by its owner only; returns how many. Raises `OSError`."""
    standing = {name: value for name, value in (await _standing(client)).items() if value is not None}
    _write(path, standing)
    return len(standing)


async def import_keys(client: Client, path: Path, *, replicas: int = 1) -> int:
    """Put back the keys of a file that the broker has never had; returns how many. One that was erased stays erased.

    Makes the streams where there are none. Raises `NoDataKeys`, `OSError`.
    """
    found = _read(path)
    await ensure_bucket(client, KEYS, replicas=replicas)
    await ensure_log_streams(client, replicas=replicas)
    known, bucket = await _standing(client), keys(client)
    missing = {name: value for name, value in found.items() if name not in known}
    for name, value in missing.items():
        await bucket.create(name, value)
    return len(missing)


def _write(path: Path, keys: dict[str, bytes]) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        for name, value in sorted(keys.items()):
            file.write(json.dumps({"name": name, "key": b64encode(value).decode()}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.absolute().parent)


def _read(path: Path) -> dict[str, bytes]:
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return {str(line["name"]): b64decode(line["key"], validate=True) for line in lines}
    except (ValueError, KeyError, TypeError) as error:
        raise NoDataKeys(f"{path} is no file of `rclaude-admin broker export-keys`: {error!r}") from error


async def _standing(client: Client) -> dict[str, bytes | None]:
    """Every key that the bucket knows of, by name; None for one that was erased."""
    known: dict[str, bytes | None] = {}
    watcher = await keys(client).watchall()
    try:
        async for entry in watcher:
            if entry is None:  # that is all, for now
                break
            known[entry.key] = entry.value if entry.operation is None else None
    finally:
        await watcher.stop()  # type: ignore[no-untyped-call]  # nats-py has no types there
    return known
