"""What a batch file asks for: YAML, JSON Lines or CSV, as one request for a task per item."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from remote_claude.cli.errors import CliError, Exit

FORMATS = {".yaml": "yaml", ".yml": "yaml", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
BATCH_LABEL, ITEM_LABEL = "batch", "batch-item"
"""The labels that the server gives to the tasks of a batch."""
FIELDS = frozenset(
    {"id", "prompt", "repo", "ref", "agent", "labels", "timeout", "max_attempts", "priority", "provider"}
)
NUMBERS = {"timeout": "timeout_s", "max_attempts": "max_attempts", "priority": "priority"}
_FIELD = re.compile(r"\{\{|\}\}|\{([A-Za-z_][\w-]*)\}")


@dataclass(frozen=True, slots=True)
class Item:
    """One task of a batch. `body` is its request but for the repository; `repo` a folder, a URL, or None."""

    key: str
    body: dict[str, Any]
    repo: str | None
    ref: str | None


@dataclass(frozen=True, slots=True)
class Batch:
    name: str
    items: tuple[Item, ...]


def read(
    text: str,
    kind: str,
    *,
    name: str | None,
    template: str | None,
    defaults: Mapping[str, Any],
    place: Callable[[str | None], str | None],
) -> Batch:
    """The batch of a file's content. Raises `CliError` for the first item that can't be read.

    `defaults` hold for items that have no such field; labels are joined. `place` says which repository is meant by what
    an item calls it, the same wherever the command runs. Without a name the batch is named after its
    content, so that the same file names the same batch.
    """
    try:
        shared, rows = {"yaml": _yaml, "jsonl": _json_lines, "csv": _csv}[kind](text)
    except (ValueError, TypeError) as error:
        raise _wrong(f"the batch can't be read as {kind}: {error}") from error
    name = name or _given(shared.pop("name", None))
    template = template or _given(shared.pop("prompt", None))
    defaults = {**defaults, **{field: value for field, value in shared.items() if value is not None}}
    items, seen = [], Counter[str]()
    for number, row in enumerate(rows, 1):
        try:
            key, content = _item(row, template, defaults)
            content["repo"] = place(content["repo"])
        except ValueError as error:
            raise _wrong(f"item {number}: {error}") from error
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        key = key or digest
        seen[key] += 1
        if seen[key] > 1 and key != digest:
            raise _wrong(f"item {number}: the id {key!r} is that of an earlier item too")
        items.append(
            Item(
                key if seen[key] == 1 else f"{key}-{seen[key]}",
                content["body"],
                content["repo"],
                content["ref"],
            )
        )
    if not items:
        raise _wrong("the batch has no items")
    whole = json.dumps([(item.key, item.body, item.repo, item.ref) for item in items], sort_keys=True)
    return Batch(name or hashlib.sha256(whole.encode()).hexdigest()[:12], tuple(items))


def idempotency_key(batch: str) -> str:
    """The same for the same batch, whenever it is submitted."""
    return f"batch-{hashlib.sha256(batch.encode()).hexdigest()}"


def _item(
    row: Mapping[str, Any], template: str | None, defaults: Mapping[str, Any]
) -> tuple[str | None, dict[str, Any]]:
    """The item's own id, and what it asks for. Raises `ValueError`."""
    given = {field: value for field, value in row.items() if value not in (None, "")}
    if template is None and (unknown := sorted(given.keys() - FIELDS)):
        raise ValueError(
            f"there is no field {unknown[0]!r}; there are: {', '.join(sorted(FIELDS))} "
            "(others only where a prompt template uses them)"
        )
    labels = {**_labels(defaults.get("labels")), **_labels(given.get("labels"))}
    fields = {**defaults, **given}
    prompt = _given(given.get("prompt")) or (_filled(template, fields) if template else "")
    if not prompt.strip():
        raise ValueError(
            "it has no prompt: give it the field `prompt`, or the batch a template with --prompt"
        )
    body: dict[str, Any] = {"prompt": prompt, "agent": str(fields.get("agent") or "claude"), "labels": labels}
    for field, name in NUMBERS.items():
        if fields.get(field) is not None:
            try:
                body[name] = int(str(fields[field]))
            except ValueError as error:
                raise ValueError(f"{field} is not a whole number: {str(fields[field])!r}") from error
    if fields.get("provider"):
        body["provider"] = str(fields["provider"])
    repo, ref = (_given(fields.get(field)) for field in ("repo", "ref"))
    return _given(given.get("id")), {"body": body, "repo": repo, "ref": ref}


def _filled(template: str, fields: Mapping[str, Any]) -> str:
    """The template with its `{field}`s; `{{` and `}}` are braces. Raises `ValueError` for a field that is not there."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return match[0][0]
        if fields.get(name) is None:
            raise ValueError(f"the prompt template uses {{{name}}}, which it does not have; a brace is {{{{")
        return str(fields[name])

    return _FIELD.sub(value, template)


def _labels(given: Any) -> dict[str, str]:
    """Of a mapping, or of `KEY=VALUE` separated by semicolons, as in CSV."""
    if given is None:
        return {}
    if isinstance(given, str):
        pairs = [part.strip().partition("=") for part in given.split(";") if part.strip()]
        if any(not key or not separator for key, separator, _ in pairs):
            raise ValueError(f"not labels: {given!r}; they are KEY=VALUE, separated by semicolons")
        given = {key: value for key, _, value in pairs}
    if not isinstance(given, Mapping):
        raise ValueError("labels are a mapping of names to values")
    labels = {str(key): str(value) for key, value in given.items()}
    if taken := {BATCH_LABEL, ITEM_LABEL} & labels.keys():
        raise ValueError(f"the label {min(taken)!r} is set by the batch itself")
    return labels


def _given(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _yaml(text: str) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
    """A list of items; or a mapping with `items`, `matrix`, and what holds for all of them."""
    import yaml

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    if isinstance(document, Mapping):
        shared = dict(document)
        items, matrix = shared.pop("items", None), shared.pop("matrix", None)
        if unknown := sorted(str(key) for key in shared.keys() - FIELDS - {"name"}):
            raise ValueError(f"there is no field {unknown[0]!r} for all items")
        rows = _rows([{}] if items is None and matrix is not None else items or [])
        return shared, [{**point, **row} for row in rows for point in _points(matrix)]
    return {}, _rows(document or [])


def _points(matrix: Any) -> list[dict[str, Any]]:
    """Every combination of a matrix's values."""
    if matrix is None:
        return [{}]
    if not isinstance(matrix, Mapping) or not all(isinstance(values, list) for values in matrix.values()):
        raise ValueError("a matrix is a mapping of fields to lists of values")
    return [dict(zip(matrix, values, strict=True)) for values in itertools.product(*matrix.values())]


def _json_lines(text: str) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
    return {}, _rows(json.loads(line) for line in text.splitlines() if line.strip())


def _csv(text: str) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
    import csv

    rows = list(csv.DictReader(text.splitlines(keepends=True), strict=True))
    if any(None in row for row in rows):
        raise ValueError("a line has more columns than the first one names")
    return {}, _rows(rows)


def _rows(rows: Iterable[Any]) -> list[Mapping[str, Any]]:
    if isinstance(rows, str | Mapping):
        raise ValueError("items are a list")
    found = list(rows)
    for number, row in enumerate(found, 1):
        if not isinstance(row, Mapping):
            raise ValueError(f"item {number} is no mapping of fields to values")
    return found


def _wrong(message: str) -> CliError:
    return CliError(message, Exit.USAGE)
