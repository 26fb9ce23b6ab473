"""Holds a document against the vendor's own API description, trimmed to what is in use and to what a schema can check."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

_SCHEMAS = Path(__file__).parent / "schemas"


@cache
def _validator(vendor: str, name: str) -> Draft202012Validator:
    found = json.loads((_SCHEMAS / f"{vendor}.json").read_text())
    assert name in found["$defs"], f"{vendor} describes no {name}"
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": found["$defs"]})


def valid(vendor: str, name: str, document: Any) -> Any:
    """The document itself. Raises for a field that the vendor does not know, or of another type."""
    _validator(vendor, name).validate(document)
    return document
