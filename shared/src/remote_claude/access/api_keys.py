"""API keys: `rck_` + 32 base62 characters of entropy + 6 of checksum. Only their HMAC is ever stored."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import zlib

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
PREFIX = "rck_"
ENTROPY, CHECKSUM = 32, 6
SHOWN = len(PREFIX) + 6
"""How much of a key may be shown to recognise it by."""


def generate() -> str:
    """A new key, with about 190 bits of entropy."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(ENTROPY))
    return PREFIX + body + _checksum(body)


def is_well_formed(text: str) -> bool:
    """Whether this can be a key at all: tells a typing error from a revoked key without asking anyone."""
    body, check = text[len(PREFIX) : -CHECKSUM], text[-CHECKSUM:]
    return text.startswith(PREFIX) and len(body) == ENTROPY and text.isascii() and _checksum(body) == check


def digest(text: str) -> str:
    """What is stored of a key: HMAC-SHA256, hex. The entropy is the key's own, so no pepper is needed."""
    return hmac.digest(b"remote-claude api key", text.encode(), hashlib.sha256).hex()


def _checksum(body: str) -> str:
    number, characters = zlib.crc32(body.encode()), []
    for _ in range(CHECKSUM):
        number, remainder = divmod(number, len(ALPHABET))
        characters.append(ALPHABET[remainder])
    return "".join(characters)
