"""Content-addressed objects: bundles, patches, sealed output. A directory when embedded, a bucket elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import obstore
from obstore.store import LocalStore, ObjectStore, from_url

CHUNK = 1024 * 1024


class ObjectNotFound(Exception):
    """There is no such object for this organisation."""

    code = "object_not_found"


class Objects:
    """Objects of organisations, by SHA-256. One organisation never sees another's, whatever hash it names."""

    def __init__(self, location: str) -> None:
        self._store: ObjectStore
        if "://" in location:
            self._store = from_url(location)
        else:
            self._store = LocalStore(prefix=Path(location), mkdir=True)

    async def put(self, org: str, data: bytes) -> str:
        """Store bytes; return their SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        await obstore.put_async(self._store, self._path(org, sha256), data)
        return sha256

    async def put_file(self, org: str, path: Path) -> str:
        """Store a file; return its SHA-256. It is read in pieces, never whole."""
        sha256 = await asyncio.to_thread(_digest, path)
        await obstore.put_async(self._store, self._path(org, sha256), path)
        return sha256

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
