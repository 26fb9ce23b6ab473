"""Data keys: one per organisation or person, kept outside the log so that what they seal can be forgotten.

They live in the broker's key-value bucket `KEYS`, wrapped (AES-KW, RFC 3394) by a key-encryption key ([kek.py](kek.py)).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError, NoKeysError
from nats.js.kv import KeyValue

from remote_claude.access.kek import KeyUnusable
from remote_claude.contracts import Sealed
from remote_claude.eventsourcing.jetstream.streams import LOST

NONCE_BYTES = 12
Random = Callable[[int], bytes]

KEPT_S = 5.0
"""A key that was erased elsewhere opens nothing here after so many seconds."""


class KeyErased(Exception):
    """The data key is gone: what it sealed has been forgotten, or this keyring was never given it."""

    code = "key_erased"


class DataKey:
    """Seals and opens text. `context` binds a text to its place (`task_x/prompt`): it opens nowhere else."""

    def __init__(
        self, name: str, secret: bytes, random: Random = os.urandom, *, second: bool = False
    ) -> None:
        self.name = name
        self._second = second  # one of this name may have been lost
        self._secret = secret
        self._random = random
        self._cipher = AESGCM(secret)

    def fingerprint(self, data: bytes) -> str:
        """A hash that shows, without the key, only whether two texts are equal: HMAC-SHA256, hex."""
        return hmac.digest(self._secret, b"fingerprint " + data, hashlib.sha256).hex()

    def seal(self, text: str, context: str) -> Sealed:
        """Encrypt `text` under a fresh nonce."""
        nonce = self._random(NONCE_BYTES)
        box = nonce + self._cipher.encrypt(nonce, text.encode(), context.encode())
        return Sealed(key=self.name, box=urlsafe_b64encode(box).decode())

    def seal_bytes(self, data: bytes, context: str) -> bytes:
        """Encrypt bytes under a fresh nonce, which comes first."""
        nonce = self._random(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, data, context.encode())

    def open_bytes(self, box: bytes, context: str) -> bytes:
        """Decrypt. Raises `KeyUnusable` and `KeyErased` as `open` does."""
        try:
            return self._cipher.decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], context.encode())
        except InvalidTag:
            if self._second:
                raise KeyErased(f"{context} was sealed with a key {self.name} that is lost") from None
            raise KeyUnusable(f"{context} does not open with the key {self.name}") from None

    def open(self, sealed: Sealed, context: str) -> str:
        """Decrypt. Raises `KeyUnusable` for another key's text, another place's, or a changed one.

        Where data keys were lost, it looks like a text of theirs: `KeyErased`.
        """
        return self.open_bytes(urlsafe_b64decode(sealed.box), context).decode()


class Keyring:
    """Reads data keys out of `KEYS` and keeps them in memory for moments; `create` and `erase` are for the users service.

    `clock` is monotonic, in seconds. A caller uses a key at once, and does not keep it.
    `keks` gives the key-encryption keys, the newest first; it is asked again when none of them opens a data key.
    `random` gives as many bytes as it is asked for: keys and nonces come of it.
    """

    def __init__(
        self,
        bucket: KeyValue,
        keks: bytes | Callable[[], Sequence[bytes]],
        clock: Callable[[], float] = time.monotonic,
        random: Random = os.urandom,
    ) -> None:
        self._bucket = bucket
        self._load = keks if callable(keks) else lambda: [keks]
        self._keks = self._load()
        self._clock = clock
        self._random = random
        self._keys: dict[str, tuple[DataKey, float]] = {}
        """By name: the key, and when it has to be looked at again."""
        self._reads: dict[str, asyncio.Task[DataKey]] = {}
        """Under way: one is for all who ask meanwhile."""
        self._sweep = 0.0
        self._lost, self._lost_looked = 0, float("-inf")
        """The bucket's revision up to which its keys were lost, 0 if they never were; and when that was looked up."""

    async def get(self, name: str) -> DataKey:
        """The data key of an organisation or a person. Raises `KeyErased`, `KeyUnusable`."""
        known = self._keys.get(name)
        if known is not None and self._clock() < known[1]:
            return known[0]
        if (read := self._reads.get(name)) is None:
            read = self._reads[name] = asyncio.create_task(self._read(name))
            read.add_done_callback(lambda done: self._forget(name, done))
        return await asyncio.shield(read)

    async def _read(self, name: str) -> DataKey:
        now = self._clock()
        if now >= self._sweep:
            self._keys = {name: known for name, known in self._keys.items() if now < known[1]}
            self._sweep = now + KEPT_S
        try:
            entry = await self._bucket.get(name)
        except KeyNotFoundError:
            raise KeyErased(f"there is no data key {name}") from None
        secret = await self._unwrap(name, entry.value or b"")
        second = (entry.revision or 0) > await self._lost_at() > 0
        key = DataKey(name, secret, self._random, second=second)
        if self._reads.get(name) is asyncio.current_task():  # else made or erased meanwhile
            self._keys[name] = key, now + KEPT_S  # counted from before it was read
        return key

    async def _lost_at(self) -> int:
        if self._clock() >= self._lost_looked + KEPT_S:
            self._lost_looked = self._clock()
            try:
                await self._bucket.get(LOST)
            except KeyNotFoundError as error:
                self._lost = (error.entry.revision or 0) if error.entry is not None else 0
        return self._lost

    def _forget(self, name: str, read: asyncio.Task[DataKey]) -> None:
        if self._reads.get(name) is read:
            del self._reads[name]

    async def create(self, name: str) -> DataKey:
        """The data key of a new organisation or person; the existing one if there is one already."""
        with contextlib.suppress(KeyWrongLastSequenceError):
            await self._bucket.create(name, aes_key_wrap(self._keks[0], self._random(32)))
        self._reads.pop(name, None)
        return await self.get(name)

    async def rewrap(self) -> int:
        """Wrap every data key with the newest key-encryption key; how many were. Raises `KeyUnusable`.

        A key that is erased meanwhile stays erased.
        """
        self._keks = await asyncio.to_thread(self._load)
        count = 0
        try:
            names = await self._bucket.keys()
        except NoKeysError:
            return 0
        for name in names:
            with contextlib.suppress(KeyNotFoundError, KeyWrongLastSequenceError):
                entry = await self._bucket.get(name)
                secret = await self._unwrap(name, entry.value or b"")
                await self._bucket.update(name, aes_key_wrap(self._keks[0], secret), last=entry.revision)
                count += 1
        return count

    async def _unwrap(self, name: str, box: bytes) -> bytes:
        for again in (False, True):
            if again:
                self._keks = await asyncio.to_thread(self._load)  # another process may have added one
            for kek in self._keks:
                with contextlib.suppress(InvalidUnwrap, ValueError):
                    return aes_key_unwrap(kek, box)
        raise KeyUnusable(f"the key-encryption key does not open {name}; was the key file replaced?")

    async def erase(self, name: str) -> None:
        """Forget: what this key sealed can't be read again, in the log, the views or anywhere else."""
        await self._bucket.purge(name)
        self._keys.pop(name, None)
        self._reads.pop(name, None)

    async def open(self, sealed: Sealed, context: str) -> str:
        """Decrypt with whichever key the text names."""
        return (await self.get(sealed.key)).open(sealed, context)
