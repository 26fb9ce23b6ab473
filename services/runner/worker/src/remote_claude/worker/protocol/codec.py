"""JSON and typed structs, strictly: what crosses the boundary of a sandbox is checked here."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Annotated, Any, TypeAlias, TypeVar, cast

import msgspec

T = TypeVar("T")

MAX_DEPTH = 32
"""Of nested JSON that is carried through unread."""
MAX_INTEGER = 2**53 - 1

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]


class Malformed(ValueError):
    """What arrived is not what the protocol allows; the message names the field."""

    code = "malformed"


def encode(value: msgspec.Struct) -> bytes:
    """A struct as compact JSON. UTF-8 has no lone surrogates: each becomes a question mark."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_replaced(msgspec.to_builtins(value)))


def decode(data: str | bytes, kind: type[T]) -> T:
    """A value of this type: every field as declared, none missing, none unknown. Raises `Malformed`."""
    try:
        value: T = _decoder(cast(Hashable, kind)).decode(data)
        return value
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Malformed(str(error)) from error
    except RecursionError as error:
        raise Malformed("nested too deeply") from error


def check_depth(value: object, limit: int = MAX_DEPTH) -> None:
    """Raises `Malformed` for JSON that nests deeper."""
    if limit < 0:
        raise Malformed(f"nested more than {MAX_DEPTH} deep")
    match value:
        case dict():
            for item in value.values():
                check_depth(item, limit - 1)
        case list():
            for item in value:
                check_depth(item, limit - 1)


@cache
def _decoder(kind: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cast(Any, kind))


def _replaced(value: Any) -> Any:
    match value:
        case str():
            return value.encode(errors="replace").decode()
        case list():
            return [_replaced(item) for item in value]
        case dict():
            return {_replaced(key): _replaced(item) for key, item in value.items()}
        case _:
            return value
