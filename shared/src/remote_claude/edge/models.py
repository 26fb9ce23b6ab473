"""What every service's OpenAPI document needs: problem documents, bodies that an endpoint reads itself, files."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict


class ProblemDocument(BaseModel):
    """RFC 9457. `code` is stable; `detail` says what to do next; some codes carry further fields."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    code: str
    detail: str


def problem(status: HTTPStatus) -> dict[str, Any]:
    """A refusal, as the OpenAPI document has it."""
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {"description": status.phrase, "content": {"application/problem+json": {"schema": schema}}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint that may refuse. What the edge may answer to any route is added by `openapi`."""
    return {status: problem(HTTPStatus(status)) for status in sorted({*statuses, 401})}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The `requestBody` of an endpoint that reads its body itself."""
    return {"required": True, "content": {"application/json": {"schema": _inlined(model)}}}


def binary(media_type: str) -> dict[str, Any]:
    """The `content` of a file."""
    return {media_type: {"schema": {"type": "string", "format": "binary"}}}


def _inlined(model: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON schema without references."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return resolve(definitions[node["$ref"].rpartition("/")[2]])
            return {key: resolve(value) for key, value in node.items()}
        if isinstance(node, Sequence) and not isinstance(node, str):
            return [resolve(value) for value in node]
        return node

    resolved: dict[str, Any] = resolve(schema)
    return resolved
