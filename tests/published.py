"""What has been published stays: the schema and the golden events of every version, and how a change is told.

`make golden` writes what is new: the schema of a new event or version, a field that was added with a default, the
golden event of an example. It refuses what would break a reader.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from event_examples import EXAMPLES
from remote_claude.contracts import EVENTS, Event
from remote_claude.contracts.base import Value

HERE = Path(__file__).parent / "contracts"
GOLDEN = HERE / "golden"
SCHEMAS = HERE / "schemas"
LOCK = HERE / "golden.sha256"

Schema = dict[str, Any]


def schema(model: type[Value]) -> Schema:
    """What a reader of this model takes: JSON Schema, references resolved, without titles and descriptions."""
    whole = model.model_json_schema(mode="validation")
    resolved: Schema = _resolved(whole, whole.get("$defs", {}))
    return resolved


def _resolved(node: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_resolved(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if reference is not None:
        node = definitions[reference.rpartition("/")[2]] | {k: v for k, v in node.items() if k != "$ref"}
    found: Schema = {}
    for key, value in node.items():
        if key == "properties":
            found[key] = {name: _resolved(part, definitions) for name, part in value.items()}
        elif key not in ("title", "description", "$defs", "discriminator"):
            found[key] = _resolved(value, definitions)
    return found


def breaks(was: Any, now: Any, at: str = "") -> list[str]:
    """What in a published schema is no longer so. A new field with a default breaks nothing."""
    if isinstance(was, dict) and isinstance(now, dict):
        found = list(_broken_fields(was, now, at))
        for key in sorted((was.keys() | now.keys()) - {"properties", "required"}):
            if key in was and key in now:
                found += breaks(was[key], now[key], at)
            else:
                found.append(f"{at or 'the event'} changed: {key} {'is gone' if key in was else 'is new'}")
        return found
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        return [line for a, b in zip(was, now, strict=True) for line in breaks(a, b, at)]
    return [] if was == now else [f"{at or 'the event'} changed: {was!r} became {now!r}"]


def _broken_fields(was: Schema, now: Schema, at: str) -> Iterator[str]:
    fields, present = was.get("properties", {}), now.get("properties", {})
    required = set(now.get("required", ()))
    for name, field in fields.items():
        where = f"{at}.{name}" if at else name
        if name not in present:
            yield f"{where} disappeared"
            continue
        if name in required and name not in was.get("required", ()):
            yield f"{where} lost its default"
        yield from breaks(field, present[name], where)
    for name in sorted(required - fields.keys()):
        yield f"{f'{at}.' if at else ''}{name} is new and has no default"


def schema_file(event: type[Event], version: int) -> Path:
    return SCHEMAS / f"{event.type}.v{version}.json"


def golden_files(event: type[Event], version: int, folder: Path = GOLDEN) -> list[Path]:
    """The golden events of a version, oldest first: `<Type>.v<version>.json`, and one after each added field."""
    first = folder / f"{event.type}.v{version}.json"
    later = folder.glob(f"{event.type}.v{version}.[0-9]*.json")
    return ([first] if first.exists() else []) + sorted(later, key=lambda p: int(p.suffixes[-2][1:]))


def locked(lock: Path = LOCK) -> dict[str, str]:
    """Name of each golden file -> SHA-256 of its content."""
    lines = lock.read_text().splitlines() if lock.exists() else []
    return {name: digest for digest, name in (line.split() for line in lines)}


def digests(folder: Path = GOLDEN) -> dict[str, str]:
    """What is there, as `locked` says it."""
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.json"))}


def lost(folder: Path = GOLDEN, lock: Path = LOCK) -> list[str]:
    """Golden files that were changed, deleted or never locked."""
    was, now = locked(lock), digests(folder)
    return [
        *(
            f"{name} {'has changed' if name in now else 'is gone'}"
            for name in was
            if now.get(name) != was[name]
        ),
        *(f"{name} is not locked: make golden" for name in now.keys() - was.keys()),
    ]


def main() -> None:
    """Write what is new; change nothing that was published."""
    SCHEMAS.mkdir(exist_ok=True)
    for event in EVENTS.values():
        path, fresh = schema_file(event, event.version), schema(event)
        if path.exists() and (broken := breaks(json.loads(path.read_text()), fresh)):
            sys.exit(f"{event.type} v{event.version}: {'; '.join(broken)}. Make it v{event.version + 1}.")
        path.write_text(json.dumps(fresh, indent=1, sort_keys=True) + "\n")
    for example in EXAMPLES:
        files, content = golden_files(type(example), example.version), example.to_json() + b"\n"
        if not files or files[-1].read_bytes() != content:
            nth = f".{len(files) + 1}" if files else ""
            (GOLDEN / f"{example.type}.v{example.version}{nth}.json").write_bytes(content)
    was, now = locked(), digests()
    LOCK.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted((now | was).items())))


if __name__ == "__main__":
    main()
