"""Content-addressed objects: bundles, patches, output, checkpoints. A directory when embedded, a bucket elsewhere.

They are addressed by the SHA-256 of what they hold, and stored sealed under the data key of their organisation.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import datetime
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from remote_claude.access.keyring import KeyErased, Keyring
from remote_claude.runtime.durable_files import place, sync_folder
from remote_claude.runtime.sealed_objects import PIECE, open_sealed, seal

CHUNK = 1024 * 1024


class ObjectNotFound(Exception):
    """There is no such object for this organisation."""

    code = "object_not_found"


class ObjectsUnusable(Exception):
    """The place of the objects can't be used as the settings say."""

    code = "objects_unusable"


class Objects:
    """Objects of organisations, by SHA-256. One organisation never sees another's, whatever hash it names."""

    def __init__(self, location: str, keyring: Keyring | None = None) -> None:
        """`keyring` seals what is stored; without one it is stored as it is. Raises `ObjectsUnusable`."""
        self._keyring = keyring
        self._store: ObjectStore
        self._folder: Path | None = None
        if "://" in location:
            try:
                self._store = from_url(location)
            except (BaseError, ValueError) as error:
                raise ObjectsUnusable(
                    f"the bucket {location} (RCLAUDE_OBJECTS) can't be used: {error}"
                ) from error
        else:
            self._folder = Path(location)
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                if not os.access(self._folder, os.R_OK | os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
                sync_folder(self._folder.parent)
            except OSError as error:
                raise ObjectsUnusable(
                    f"the folder of objects {location} (RCLAUDE_OBJECTS) can't be used: {error.strerror}. "
                    "The user of this process has to be able to read it and write to it"
                ) from error
            self._store = LocalStore(prefix=self._folder)

    async def put(self, org: str, data: bytes) -> str:
        """Store bytes, for good; return their SHA-256. Raises `OSError` when there is no room."""
        sha256 = hashlib.sha256(data).hexdigest()
        pieces = (data[at : at + PIECE] for at in range(0, len(data), PIECE))
        await self._put(self._path(org, sha256), await self._sealed(org, sha256, pieces))
        return sha256

    async def put_file(self, org: str, path: Path) -> str:
        """Store a file, for good; return its SHA-256. It is read in pieces, never whole. Raises `OSError` as `put`."""
        sha256 = await asyncio.to_thread(_digest, path)
        await self._put(self._path(org, sha256), await self._sealed(org, sha256, _pieces(path)))
        return sha256

    async def _sealed(self, org: str, sha256: str, pieces: Iterable[bytes]) -> Iterable[bytes]:
        if self._keyring is None:
            return pieces
        return seal(await self._keyring.get(org), sha256, pieces)

    async def _put(self, path: str, content: Iterable[bytes]) -> None:
        if self._folder is None:
            await obstore.put_async(self._store, path, iter(content))
        else:  # obstore syncs nothing: a power cut would leave an empty file under the name
            await asyncio.to_thread(place, self._folder / path, content, below=self._folder)

    async def size(self, org: str) -> int:
        """How many bytes the objects of an organisation hold, as they are stored."""
        total = 0
        async for found in obstore.list(self._store, prefix=f"{org}/"):
            total += sum(one["size"] for one in found)
        return total

    async def delete(self, org: str, sha256: str, *, written_before: datetime) -> None:
        """Delete an object for good; one that is not there, or was written again since, is left as it is. Raises `OSError`."""
        path = self._path(org, sha256)
        try:
            found = await obstore.head_async(self._store, path)
            if found["last_modified"] < written_before:
                await obstore.delete_async(self._store, path)
        except FileNotFoundError:
            pass

    async def exists(self, org: str, sha256: str) -> bool:
        """Whether the organisation has this object."""
        try:
            await obstore.head_async(self._store, self._path(org, sha256))
        except FileNotFoundError:
            return False
        return True

    async def get(self, org: str, sha256: str) -> bytes:
        """The whole object. Raises as `stream` does."""
        return b"".join([piece async for piece in self.stream(org, sha256)])

    async def stream(self, org: str, sha256: str) -> AsyncIterator[bytes]:
        """The object in pieces of about 1 MiB. Raises `ObjectNotFound`, also once the organisation's key is erased."""
        try:
            result = await obstore.get_async(self._store, self._path(org, sha256))
        except FileNotFoundError:
            raise ObjectNotFound(sha256) from None
        stored = (bytes(piece) async for piece in result.stream(min_chunk_size=CHUNK))
        if self._keyring is None:
            async for piece in stored:
                yield piece
            return
        try:
            async for piece in open_sealed(await self._keyring.get(org), sha256, stored):
                yield piece
        except KeyErased:
            raise ObjectNotFound(sha256) from None

    def _path(self, org: str, sha256: str) -> str:
        if len(sha256) != 64 or not all(c in "0123456789abcdef" for c in sha256):
            raise ObjectNotFound(sha256)
        return f"{org}/{sha256[:2]}/{sha256}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
