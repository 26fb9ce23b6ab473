"""From JSON to frozen dataclasses and back, strictly. What crosses the sandbox's wall is checked here.

Standard library only: the worker imports it.
"""

from __future__ import annotations

import json
import types
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

MAX_DEPTH = 32
"""Of nested JSON that is carried through unread."""
MAX_INTEGER = 2**53 - 1


class Malformed(ValueError):
    """What arrived is not what the protocol allows; the message names the field."""

    code = "malformed"


def build(kind: type[T], value: object) -> T:
    """A dataclass from a JSON object: every field of its declared type, none missing, none unknown."""
    if not isinstance(value, dict):
        raise Malformed(f"{kind.__name__}: an object is needed, not {type(value).__name__}")
    hints, required = _shape(cast(Any, kind))
    if unknown := value.keys() - hints.keys():
        raise Malformed(f"{kind.__name__}: unknown field {min(map(str, unknown))[:40]!r}")
    if missing := required - value.keys():
        raise Malformed(f"{kind.__name__}: {min(missing)} is missing")
    return kind(
        **{name: _checked(hints[name], item, f"{kind.__name__}.{name}") for name, item in value.items()}
    )


def plain(value: object) -> dict[str, Any]:
    """The fields of a dataclass, by name; those that are None are left out."""
    named = {field.name: getattr(value, field.name) for field in fields(cast(Any, value))}
    return {name: item for name, item in named.items() if item is not None}


def dump(value: object) -> bytes:
    """A dataclass as compact JSON. A lone surrogate, which UTF-8 cannot say, becomes a question mark."""
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def parse(text: str | bytes) -> object:
    """JSON with the limits of the wire: no NaN, no nesting without end."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise Malformed("nested too deeply") from error
    except ValueError as error:
        raise Malformed(f"not JSON: {error}") from error


def _refuse(constant: str) -> None:
    raise Malformed(f"{constant} is not JSON")


@cache
def _shape(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:
    hints = get_type_hints(kind)
    declared = fields(kind)
    required = {f.name for f in declared if f.default is MISSING and f.default_factory is MISSING}
    return {f.name: hints[f.name] for f in declared}, frozenset(required)


def _checked(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        options = get_args(hint)
        if value is None and type(None) in options:
            return None
        return _checked(next(o for o in options if o is not type(None)), value, where)
    if origin is Literal:
        if value in get_args(hint):
            return value
        raise Malformed(f"{where}: one of {', '.join(map(repr, get_args(hint)))} is needed")
    if origin is dict:
        if isinstance(value, dict):
            of = get_args(hint)[1]
            return {str(key): _checked(of, item, where) for key, item in value.items()}
    elif origin is list:
        if isinstance(value, list):
            return [_checked(get_args(hint)[0], item, where) for item in value]
    elif hint is Any:
        if _depth(value) > MAX_DEPTH:
            raise Malformed(f"{where}: nested more than {MAX_DEPTH} deep")
        return value
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INTEGER:
            return value
    elif isinstance(value, hint):
        return value
    raise Malformed(f"{where}: {getattr(hint, '__name__', hint)} is needed, not {type(value).__name__}")


def _depth(value: object, limit: int = MAX_DEPTH) -> int:
    """How deep it nests, looking no deeper than needed to know that it is too deep."""
    if limit < 0:
        return 1
    match value:
        case dict():
            return 1 + max((_depth(item, limit - 1) for item in value.values()), default=0)
        case list():
            return 1 + max((_depth(item, limit - 1) for item in value), default=0)
        case _:
            return 0
