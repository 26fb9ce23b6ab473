"""What is wrong with a field of a request, in words: pydantic's error types as the end of a sentence about the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "string_type": "has to be a text",
    "string_pattern_mismatch": "is not in the form that it needs",
    "string_unicode": "has to be a text in UTF-8",
    "string_too_long": "has more than {max_length} characters",
    "string_too_short": "has fewer than {min_length} characters",
    "too_long": "has more than {max_length} entries",
    "too_short": "has fewer than {min_length} entries",
    "literal_error": "has to be {expected}",
    "enum": "has to be {expected}",
    "greater_than": "has to be more than {gt}",
    "greater_than_equal": "has to be at least {ge}",
    "less_than": "has to be less than {lt}",
    "less_than_equal": "has to be at most {le}",
    "multiple_of": "has to be a multiple of {multiple_of}",
    "finite_number": "has to be a finite number",
    "value_error": "{error}",
    "assertion_error": "{error}",
    "json_invalid": "is no JSON: {error}",
    "json_type": "has to be JSON",
    "union_tag_invalid": "has to be one of {expected_tags}",
    "url_parsing": "has to be a URL",
    "url_type": "has to be a URL",
    "url_scheme": "has to be a URL that begins with {expected_schemes}",
}
KINDS = {
    "int": "has to be a whole number",
    "float": "has to be a number",
    "decimal": "has to be a number",
    "bool": "has to be true or false",
    "list": "has to be a list",
    "tuple": "has to be a list",
    "set": "has to be a list",
    "dict": "has to be an object",
    "model": "has to be an object",
    "dataclass": "has to be an object",
    "mapping": "has to be an object",
    "date": "has to be a date",
    "datetime": "has to be a time in RFC 3339",
    "uuid": "has to be a UUID",
    "bytes": "has to be a text",
}
"""By the first word of a type, such as `int_parsing`."""


def words(error: Mapping[str, Any]) -> str:
    """The end of the sentence, for one of pydantic's errors."""
    kind, context = str(error["type"]), error.get("ctx") or {}
    if kind == "string_too_short" and context.get("min_length") == 1:
        return "is empty"
    first, more, _ = kind.partition("_")
    text = WORDS.get(kind) or (
        KINDS.get(first) if more else None
    )  # a validator of ours may call an error "model"
    if text is None:
        return str(error["msg"])
    try:
        return text.format(**context)
    except KeyError:  # the error came without its context
        return str(error["msg"]).removeprefix("Value error, ")
