"""Identifiers: `<prefix>_<26 lower-case Crockford base32 characters>`, sortable where they are new."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid5

import uuid_utils

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26

NewId = Callable[[str], str]


def new_id(prefix: str) -> str:
    """A fresh id from a UUIDv7: ids of one prefix sort by the time they were made."""
    return f"{prefix}_{_base32(uuid_utils.uuid7().int)}"


def derived_id(prefix: str, namespace: UUID, *parts: str) -> str:
    """The id that follows from its parts, the same at every try."""
    return f"{prefix}_{_base32(uuid5(namespace, '/'.join(parts)).int)}"


def is_id(prefix: str, text: str) -> bool:
    """Whether `text` is an id of this prefix."""
    head, _, tail = text.partition("_")
    return head == prefix and len(tail) == LENGTH and all(c in ALPHABET for c in tail)


def _base32(number: int) -> str:
    return "".join(ALPHABET[number >> shift & 31] for shift in range(5 * (LENGTH - 1), -1, -5))
