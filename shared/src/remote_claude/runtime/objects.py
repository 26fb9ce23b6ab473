"""Content-addressed objects: bundles, patches, sealed output. A directory when embedded, a bucket elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import obstore
from obstore.store import LocalStore, ObjectStore, from_url

from remote_claude.runtime.durable_files import place, sync_folder

CHUNK = 1024 * 1024


class ObjectNotFound(Exception):
    """There is no such object for this organisation."""

    code = "object_not_found"


class Objects:
    """Objects of organisations, by SHA-256. One organisation never sees another's, whatever hash it names."""

    def __init__(self, location: str) -> None:
        self._store: ObjectStore
        self._folder: Path | None = None
        if "://" in location:
            self._store = from_url(location)
        else:
            self._folder = Path(location)
            self._store = LocalStore(prefix=self._folder, mkdir=True)
            sync_folder(self._folder.parent)

    async def put(self, org: str, data: bytes) -> str:
        """Store bytes, for good; return their SHA-256. Raises `OSError` when there is no room."""
        sha256 = hashlib.sha256(data).hexdigest()
        await self._put(self._path(org, sha256), data)
        return sha256

    async def put_file(self, org: str, path: Path) -> str:
        """Store a file, for good; return its SHA-256. It is read in pieces, never whole. Raises `OSError` as `put`."""
        sha256 = await asyncio.to_thread(_digest, path)
        await self._put(self._path(org, sha256), path)
        return sha256

    async def _put(self, path: str, content: bytes | Path) -> None:
        if self._folder is None:
            await obstore.put_async(self._store, path, content)
        else:  # obstore syncs nothing: a power cut would leave an empty file under the name
            await asyncio.to_thread(place, self._folder / path, content, below=self._folder)

    async def exists(self, org: str, sha256: str) -> bool:
        """Whether the organisation has this object."""
        try:
            await obstore.head_async(self._store, self._path(org, sha256))
        except FileNotFoundError:
            return False
        return True

    async def get(self, org: str, sha256: str) -> bytes:
        """The whole object. Raises `ObjectNotFound`."""
        try:
            result = await obstore.get_async(self._store, self._path(org, sha256))
        except FileNotFoundError:
            raise ObjectNotFound(sha256) from None
        return bytes(await result.bytes_async())

    async def stream(self, org: str, sha256: str) -> AsyncIterator[bytes]:
        """The object in pieces of about 1 MiB. Raises `ObjectNotFound`."""
        try:
            result = await obstore.get_async(self._store, self._path(org, sha256))
        except FileNotFoundError:
            raise ObjectNotFound(sha256) from None
        async for piece in result.stream(min_chunk_size=CHUNK):
            yield bytes(piece)

    def _path(self, org: str, sha256: str) -> str:
        if len(sha256) != 64 or not all(c in "0123456789abcdef" for c in sha256):
            raise ObjectNotFound(sha256)
        return f"{org}/{sha256[:2]}/{sha256}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
