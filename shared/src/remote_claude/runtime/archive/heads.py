"""Signed heads: where the chain stood on a day, kept apart from broker and database.

A user who can write to PostgreSQL can compute a whole new chain; the head of yesterday is in a file, signed.
Heads are numbered, each says which one it follows, and the last one is noted beside the key: none can be taken away.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from remote_claude.eventsourcing.events import Clock, timestamp
from remote_claude.runtime.archive.store import Head
from remote_claude.runtime.durable_files import sync_folder, write_private

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError)
"""What reading a file raises that is not as it was written."""


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A head as its file has it. `problem` says why it can't be believed, None where it can.

    `number` counts the heads of a key, from 1; heads of before they were counted have 0. `follows` is a file's name.
    """

    name: str
    position: int
    hash: bytes
    number: int = 0
    follows: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class MissingHeads:
    """Heads that were signed and are gone; they stood somewhere between these positions."""

    first: int
    last: int
    detail: str


class Heads:
    """The folder of one log's heads. Files are made once and never written again.

    `key_file` holds the Ed25519 key, made when the first head is signed; its public half is beside it, `.pub`, and
    so is a note of the last head, `.last`: who can change that could sign anything anyway.
    """

    def __init__(self, folder: Path, key_file: Path, clock: Clock) -> None:
        self.folder = folder.expanduser()
        self.key_file = key_file.expanduser()
        self._clock = clock
        self._signed: date | None = None

    async def daily(self, head: Head) -> None:
        """Sign the first head of each UTC day. Raises `OSError`."""
        today = self._clock().date()
        if today != self._signed:
            if not (self.folder / f"{today}.json").exists():
                await asyncio.to_thread(self.sign, head, str(today))
            self._signed = today

    def sign(self, head: Head, name: str | None = None) -> Path:
        """Write a head, named after this moment unless given a name; one that is there stays. Raises `OSError`."""
        at = timestamp(self._clock())
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.folder / f"{name or at.replace(':', '')}.json"
        key = self._key()
        with self._alone():
            if path.exists():
                return path
            last = max([self._last(), *self.read()], key=lambda known: known.number)
            content = {
                "position": head.position,
                "hash": head.hash.hex(),
                "at": at,
                "number": last.number + 1,
                "follows": last.name if last.number else None,
            }
            signature = key.sign(_signed(content)).hex()
            write_once(path, json.dumps({**content, "signature": signature}) + "\n", 0o400)
            write_private(self._last_file(), json.dumps({**content, "name": path.name}) + "\n")
        return path

    def public_key(self, *, make: bool = False) -> bytes | None:
        """The key's public half, 32 bytes; None where there is no key and none is to be made. Raises `OSError`."""
        try:
            if make:
                self._key()
            public = self._public()
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise OSError(str(error)) from error
        return public.public_bytes_raw()

    def signed(self) -> int:
        """The position of the last head, as noted beside the key; 0 without one. Raises `OSError`."""
        return self._last().position

    def give_up(self, after: int) -> None:
        """Put those of later positions aside, into `given-up`: they say what was lost, and nothing follows them."""
        heads = self.read()
        kept = max(
            (h for h in heads if h.number and h.position <= after), key=lambda h: h.number, default=None
        )
        aside = self.folder / "given-up"
        aside.mkdir(exist_ok=True, mode=0o700)
        with self._alone():
            if kept is not None:
                content = json.loads((self.folder / kept.name).read_text())
                del content["signature"]
                write_private(self._last_file(), json.dumps({**content, "name": kept.name}) + "\n")
            else:
                self._last_file().unlink(missing_ok=True)
            for head in heads:
                if head.position > after:
                    (self.folder / head.name).rename(aside / head.name)
            sync_folder(self.folder)
            sync_folder(aside)

    def read(self) -> list[SignedHead]:
        """All heads in the order of their positions, each with what is wrong with it."""
        files = sorted(self.folder.glob("*.json"))
        if not files:
            return []
        try:
            public, problem = self._public(), None
        except (OSError, ValueError) as error:
            public, problem = None, f"nothing to check it with, put the file back from a backup: {error}"
        return sorted((_read(path, public, problem) for path in files), key=lambda head: head.position)

    def missing(self, heads: Sequence[SignedHead]) -> list[MissingHeads]:
        """What was signed and is not among these, the heads that there are."""
        unreadable = {head.name for head in heads if not head.number}
        known = sorted((head for head in heads if head.number), key=lambda head: head.number)
        found, before = [], SignedHead("", 0, b"")
        try:
            noted = [_next(self._last())]
        except OSError as error:
            end = max((head.position for head in known), default=0)
            found.append(
                MissingHeads(end + 1, end + 1, f"whether the last one is there nobody knows: {error}")
            )
            noted = []
        for head in [*known, *noted]:
            gone = head.number - before.number - 1
            if gone > 1 or (gone == 1 and head.follows not in unreadable):
                others = f" and {gone - 1} before it" if gone > 1 else ""
                first, last = sorted((min(before.position + 1, head.position), head.position))
                where = f"signed before {head.name}" if head.name else "signed last"
                found.append(MissingHeads(first, last, f"{head.follows}{others}, {where}, is not there"))
            before = max(before, head, key=lambda known: known.number)
        return found

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two processes never give two heads the same number."""
        with self.key_file.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _last(self) -> SignedHead:
        """The last head, as noted beside the key; number 0 without a note."""
        try:
            content = json.loads(self._last_file().read_text())
            return _head(content["name"], content)
        except FileNotFoundError:
            return SignedHead("", 0, b"")
        except UNREADABLE as error:
            raise OSError(f"{self._last_file()} can't be read: {error!r}") from error

    def _last_file(self) -> Path:
        return self.key_file.with_name(self.key_file.name + ".last")

    def _key(self) -> Ed25519PrivateKey:
        if not self.key_file.exists():
            if self._public_file().exists() or any(self.folder.glob("*.json")):
                raise OSError(
                    f"{self.key_file} is gone, and heads that it has signed are there: put it back from a backup. "
                    f"Where there is none, take {self.folder} and {self._last_file()} away, and keep them: "
                    "another key can't vouch for them. Then `rclaude-admin log head --new-key`"
                )
            made = Ed25519PrivateKey.generate()
            private = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            self.key_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_once(self.key_file, private.decode(), 0o600)
        try:
            key = load_pem_private_key(self.key_file.read_bytes(), None)
        except (ValueError, TypeError) as error:  # damaged, encrypted
            raise OSError(f"{self.key_file} can't be read: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise OSError(f"{self.key_file} holds no Ed25519 key")
        if not self._public_file().exists():  # also when the process that made the key was killed before this
            public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            write_once(self._public_file(), public.decode(), 0o600)
        return key

    def public_pem(self) -> bytes:
        """The key's public half as its file has it. Makes the key when it is missing. Raises `OSError`."""
        self._key()
        return self._public_file().read_bytes()

    def signature(self, data: bytes) -> str:
        """The key's signature of these bytes, in hexadecimal digits. Makes the key when it is missing. Raises `OSError`."""
        return self._key().sign(data).hex()

    def _public_file(self) -> Path:
        return self.key_file.with_name(self.key_file.name + ".pub")

    def _public(self) -> Ed25519PublicKey:
        key = load_pem_public_key(self._public_file().read_bytes())
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError(f"{self._public_file()} holds no Ed25519 key")
        return key


def write_once(path: Path, text: str, mode: int) -> None:
    """Write a file whole and synced; one that is there already stays as it is."""
    staged = path.with_name(f"{path.name}.{os.getpid()}.new")
    staged.unlink(missing_ok=True)
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(staged, path)
    except FileExistsError:
        pass
    finally:
        staged.unlink()
    sync_folder(path.parent)


def _head(name: str, content: dict[str, Any], problem: str | None = None) -> SignedHead:
    return SignedHead(
        name,
        int(content["position"]),
        bytes.fromhex(content["hash"]),
        int(content.get("number", 0)),
        content.get("follows"),
        problem,
    )


def _next(last: SignedHead) -> SignedHead:
    """A head that would follow the last one: with it, what is missing at the end is a gap like any other."""
    return SignedHead("", last.position, b"", last.number + 1, last.name)


def _signed(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _read(path: Path, public: Ed25519PublicKey | None, problem: str | None) -> SignedHead:
    try:
        content = json.loads(path.read_text())
        signature = bytes.fromhex(content.pop("signature"))
        head = _head(path.name, content, problem)
    except UNREADABLE as error:
        return SignedHead(path.name, 0, b"", problem=f"it can't be read: {error!r}")
    if public is not None:
        try:
            public.verify(signature, _signed(content))
        except InvalidSignature:
            return replace(head, problem="its signature is not that of the key")
    return head
