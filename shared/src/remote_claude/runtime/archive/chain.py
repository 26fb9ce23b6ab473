"""The hash chain: each event's hash is over the one before it, its place and every byte that it consists of."""

from __future__ import annotations

from hashlib import sha256

GENESIS = bytes(32)
"""What comes before the first event."""


def link(previous: bytes, position: int, subject: str, headers: bytes, data: bytes) -> bytes:
    """SHA-256 over the previous hash, the position (8 bytes, big-endian), and subject, headers and data as they are
    stored (ciphertext where they are encrypted), each after its length (4 bytes, big-endian)."""
    name = subject.encode()
    return sha256(
        b"%b%b%b%b%b%b%b%b" % (
            previous, position.to_bytes(8), len(name).to_bytes(4), name,
            len(headers).to_bytes(4), headers, len(data).to_bytes(4), data,
        )
    ).digest()  # fmt: skip


def content(subject: str, headers: bytes, data: bytes) -> bytes:
    """A digest of an event, whatever its position."""
    return link(GENESIS, 0, subject, headers, data)
