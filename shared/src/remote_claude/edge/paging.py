"""Pages of lists: at most `MAX_PAGE` entries, and an opaque cursor to what follows."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from typing import Annotated

from fastapi import Query

from remote_claude.contracts.refusals import InvalidCursor

MAX_PAGE = 200

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
CursorText = Annotated[str | None, Query(max_length=200)]


def encode_cursor(position: int, id: str) -> str:
    """The cursor of what follows an entry, by its sort key and its id."""
    return urlsafe_b64encode(f"{position}/{id}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[int, str]:
    """The sort key and the id in a cursor. Raises `InvalidCursor`."""
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (NotBase64, ValueError):
        raise InvalidCursor from None
    position, _, id = text.partition("/")
    if not id or not position.isascii() or not position.isdigit() or len(position) > 18:
        raise InvalidCursor
    return int(position), id
