"""The vendors' published schemas of what is used of each forge, and the check of requests and answers against them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

WITH_SLASHES = ("path", "filepath")
"""Parameters that stand for the rest of a path."""


def check(kind: str, method: str, path: str, query: Mapping[str, str], request: Any, answer: Any) -> None:
    """Raises `AssertionError` for an operation, a parameter or a field that the vendor does not publish."""
    operation, published = _operation(kind, method, path)
    unknown = set(query) - set(published["query"])
    assert not unknown, f"{operation} has no parameter {', '.join(sorted(unknown))}"
    for side, document in (("request", request), ("answer", answer)):
        if document is None or isinstance(document, str):  # no body, or a file as text
            continue
        error = best_match(Draft202012Validator(published[side]).iter_errors(document))
        assert error is None, f"{side} of {operation} at {error.json_path}: {error.message}"


def _operation(kind: str, method: str, path: str) -> tuple[str, Any]:
    for operation, pattern, published in _operations(kind):
        if operation.startswith(f"{method} ") and pattern.fullmatch(path):
            return operation, published
    raise AssertionError(f"{kind} has no operation {method} {path}")


@cache
def _operations(kind: str) -> list[tuple[str, re.Pattern[str], Any]]:
    document = json.loads((Path(__file__).parent / f"{kind}.json").read_text())
    return [
        (operation, re.compile(_pattern(operation.partition(" ")[2])), published)
        for operation, published in document["operations"].items()
    ]


def _pattern(template: str) -> str:
    parts = re.split(r"\{(\w+)\}", template)
    return "".join(
        re.escape(part) if index % 2 == 0 else ".+" if part in WITH_SLASHES else "[^/]+"
        for index, part in enumerate(parts)
    )
