"""Objects at rest: sealed in pieces under the data key of their organisation, so that erasing the key erases them.

`RCO1`, then pieces: one byte that is 1 for the last, four bytes of length, and the sealed bytes. A piece opens only at its
place in its object.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator

from remote_claude.access.keyring import DataKey

MAGIC = b"RCO1"
PIECE = 1024 * 1024
_HEAD = 5


class ObjectDamaged(Exception):
    """The object was cut or changed."""

    code = "object_damaged"


def seal(key: DataKey, sha256: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of an object as they are stored."""
    yield MAGIC
    waiting: bytes | None = None
    number = 0
    for piece in pieces:
        if waiting is not None:
            yield _sealed(key, sha256, number, waiting, last=False)
            number += 1
        waiting = piece
    yield _sealed(key, sha256, number, waiting or b"", last=True)


async def open_sealed(key: DataKey, sha256: str, stored: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces of an object as they were. Raises `ObjectDamaged`, `KeyUnusable`, `KeyErased`."""
    buffer, number, last = bytearray(), 0, False
    async for data in stored:
        buffer += data
        if number == 0 and not last and buffer[: len(MAGIC)] == MAGIC:
            del buffer[: len(MAGIC)]
        while len(buffer) >= _HEAD and not last:
            length = int.from_bytes(buffer[1:_HEAD], "big")
            if len(buffer) < _HEAD + length:
                break
            last = buffer[0] == 1
            yield key.open_bytes(bytes(buffer[_HEAD : _HEAD + length]), _context(sha256, number, last=last))
            del buffer[: _HEAD + length]
            number += 1
    if not last or buffer:
        raise ObjectDamaged(f"the object {sha256} was cut or changed")


def _sealed(key: DataKey, sha256: str, number: int, piece: bytes, *, last: bool) -> bytes:
    box = key.seal_bytes(piece, _context(sha256, number, last=last))
    return bytes([last]) + len(box).to_bytes(4, "big") + box


def _context(sha256: str, number: int, *, last: bool) -> str:
    return f"object/{sha256}/{number}/{'last' if last else 'more'}"
