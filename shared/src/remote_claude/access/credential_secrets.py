"""Secrets that people and machines hold: a prefix, 32 base62 characters of entropy, 6 of checksum. Only their HMAC is stored."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import zlib

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
API_KEY = "rck_"
SESSION = "rcs_"
REFRESH = "rcr_"
INVITATION = "rci_"
SHARE = "rcl_"
ENTROPY, CHECKSUM = 32, 6
SHOWN = len(API_KEY) + 6
"""How much of a key may be shown to recognise it by."""
PATTERN = rf"\b(?:rck|rcs|rcr|rci|rcl)_[0-9A-Za-z]{{{ENTROPY + CHECKSUM}}}\b"
"""For secret scanners: every secret of this product that is worth stealing."""


def generate(prefix: str = API_KEY) -> str:
    """A new secret, with about 190 bits of entropy."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(ENTROPY))
    return prefix + body + _checksum(body)


def is_well_formed(text: str, prefix: str = API_KEY) -> bool:
    """Whether this can be such a secret: it separates a typing error from a revoked key without a look-up."""
    body, check = text[len(prefix) : -CHECKSUM], text[-CHECKSUM:]
    return text.startswith(prefix) and len(body) == ENTROPY and text.isascii() and _checksum(body) == check


def digest(text: str) -> str:
    """What is stored of a secret: HMAC-SHA256, hex. The entropy is the secret's own, so no pepper is needed."""
    return hmac.digest(b"remote-claude api key", text.encode(), hashlib.sha256).hex()


def csrf_token(secret: str) -> str:
    """What a page of ours knows of its session and another site can't: HMAC-SHA256 of the cookie, hex."""
    return hmac.digest(b"remote-claude csrf", secret.encode(), hashlib.sha256).hex()


def _checksum(body: str) -> str:
    number, characters = zlib.crc32(body.encode()), []
    for _ in range(CHECKSUM):
        number, remainder = divmod(number, len(ALPHABET))
        characters.append(ALPHABET[remainder])
    return "".join(characters)
