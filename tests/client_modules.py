"""Writes the generated modules of the Python SDK, `models.py` and `operations.py`: `python tests/client_modules.py`.

They follow from the OpenAPI document of an installation with all services. Models are `TypedDict`s: what the API answers
is passed on as it is, and a field that a newer server adds breaks no older client.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from openapi_document import document

CLIENT = Path(__file__).resolve().parents[1] / "shared/client/src/remote_claude/client"
METHODS = ("get", "head", "post", "put", "patch", "delete")
SIMPLE = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
REPEATABLE = {"cancel_task"}
"""Operations by POST that may be sent again without an idempotency key."""
NOT_FOR_CLIENTS = re.compile(r"^receive_|^follow_sign_in_link$")
"""What browsers and other services ask."""

type_of_json = dict[str, Any]


def generated(api: Mapping[str, Any]) -> dict[str, str]:
    """The text of each generated module, by its file name."""
    found = list(_operations(api))
    needed = _reachable(api, found)
    return {
        "models.py": _formatted(_models(api, needed)),
        "operations.py": _formatted(_functions(api, found)),
    }


def _operations(api: Mapping[str, Any]) -> Iterator[tuple[str, str, type_of_json]]:
    for path, item in sorted(api["paths"].items()):
        for method in METHODS:
            operation = item.get(method)
            if operation is None or NOT_FOR_CLIENTS.search(operation["operationId"]):
                continue
            _, answer = _success(operation)
            if "text/html" not in answer and not any(
                status.startswith("3") for status in operation["responses"]
            ):
                yield method, path, operation


def _success(operation: type_of_json) -> tuple[str, type_of_json]:
    """The first status of success, and the content of its answer by media type."""
    status = min(status for status in operation["responses"] if status[0] in "23")
    return status, operation["responses"][status].get("content", {})


def _reachable(api: Mapping[str, Any], operations: list[tuple[str, str, type_of_json]]) -> list[str]:
    waiting = [operation for _, _, operation in operations]
    found: set[str] = {"ProblemDocument"}
    while waiting:
        text = json.dumps(waiting.pop())
        for name in re.findall(r"#/components/schemas/(\w+)", text) + [
            title for title in re.findall(r'"title": "(\w+)"', text) if title in api["components"]["schemas"]
        ]:
            if name not in found:
                found.add(name)
                waiting.append(api["components"]["schemas"][name])
    return sorted(found)


def _name(schema: str) -> str:
    """The name of a schema in Python; those of forms have one that FastAPI makes."""
    if schema.startswith("Body_"):
        return "".join(part.capitalize() for part in schema.removeprefix("Body_").split("_")) + "Form"
    return schema


def _type(schema: type_of_json, api: Mapping[str, Any]) -> str:
    """A schema as a type of Python."""
    if "$ref" in schema:
        return _name(str(schema["$ref"]).rsplit("/", 1)[-1])
    if schema.get("title") in api["components"]["schemas"] and "properties" in schema:
        return _name(str(schema["title"]))
    if "const" in schema:
        return f"Literal[{schema['const']!r}]"
    if "enum" in schema:
        return f"Literal[{', '.join(repr(value) for value in schema['enum'])}]"
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " | ".join(dict.fromkeys(_type(one, api) for one in schema[union]))
    match schema.get("type"):
        case "array":
            return f"list[{_type(schema.get('items', {}), api)}]"
        case "object":
            values = schema.get("additionalProperties", True)
            return f"dict[str, {_type(values, api) if isinstance(values, dict) else 'Any'}]"
        case None:
            return "Any"
        case kind:
            return SIMPLE[kind]


def _docstring(text: str | None, indent: str, fallback: str) -> str:
    text = (text or fallback).strip().replace("\\", "\\\\")
    if "\n" not in text:
        return f'{indent}"""{text}"""\n'
    return f'{indent}"""{textwrap.indent(text, indent).lstrip()}\n{indent}"""\n'


def _models(api: Mapping[str, Any], names: list[str]) -> str:
    text = (
        '"""What the API takes and answers, generated from its OpenAPI document: `make client`."""\n\n'
        "from __future__ import annotations\n\nfrom typing import Any, Literal, NotRequired, TypedDict\n"
    )
    for name in names:
        schema = api["components"]["schemas"][name]
        if schema.get("additionalProperties") is True:  # a `TypedDict` has no field that it does not name
            text += f"\n\n{_name(name)} = dict[str, Any]\n"
            text += _docstring(schema.get("description"), "", f"`{name}`.")
            continue
        text += f"\n\nclass {_name(name)}(TypedDict):\n"
        text += _docstring(schema.get("description"), "    ", f"`{schema.get('title', name)}`.") + "\n"
        for field, its in schema.get("properties", {}).items():
            assert field.isidentifier(), f"{name}.{field}: no name of a field"
            kind = _type(its, api)
            text += (
                f"    {field}: {kind if field in schema.get('required', ()) else f'NotRequired[{kind}]'}\n"
            )
            if described := its.get("description"):
                text += _docstring(described, "    ", "")
    return text


def _functions(api: Mapping[str, Any], operations: list[tuple[str, str, type_of_json]]) -> str:
    functions, models = "", set[str]()
    for method, path, operation in sorted(operations, key=lambda one: str(one[2]["operationId"])):
        name = operation["operationId"]
        positional, keywords = list[str](), list[str]()
        query, headers = list[str](), list[str]()
        for parameter in operation.get("parameters", ()):
            place, written = parameter["in"], parameter["name"]
            variable = re.sub(r"\W", "_", written).lower()
            kind = _type(parameter["schema"], api)
            if place == "path":
                positional.append(f"{variable}: {kind}")
                path = path.replace(f"{{{written}}}", f"{{_part({variable})}}")
                continue
            if not parameter.get("required"):
                kind = kind if kind.endswith("| None") else f"{kind} | None"
                keywords.append(f"{variable}: {kind} = None")
            else:
                keywords.append(f"{variable}: {kind}")
            (query if place == "query" else headers).append(f"{written!r}: {variable}")
        arguments = [f'"{method.upper()}"', f'{"f" if "{" in path else ""}"{path}"']
        if query:
            arguments.append(f"query={{{', '.join(query)}}}")
        if headers:
            arguments.append(f"headers={{{', '.join(headers)}}}")
        for media, content in operation.get("requestBody", {}).get("content", {}).items():
            kind = {"application/octet-stream": "Content"}.get(media) or _type(content["schema"], api)
            models.add(kind)
            positional.append(f"body: {kind}")
            arguments.append(
                {"application/json": "json", "application/x-www-form-urlencoded": "form"}.get(
                    media, "content"
                )
                + "=body"
            )
        if method == "post" and name in REPEATABLE:
            arguments.append("repeatable=True")
        _, content = _success(operation)
        if "application/json" in content:
            answer = _type(content["application/json"]["schema"], api)
            answer = "dict[str, Any]" if answer == "Any" else answer
            decode = "as_json"
        else:
            answer, decode = ("bytes", "as_bytes") if content or method == "get" else ("None", "nothing")
        models.add(answer)
        arguments.append(f"decode={decode}")
        signature = ", ".join([*positional, *(["*", *keywords] if keywords else [])])
        functions += f"\n\ndef {name}({signature}) -> Call[{answer}]:\n"
        functions += _docstring(operation.get("description"), "    ", f"{operation.get('summary', name)}.")
        functions += f"    return Call({', '.join(arguments)})\n"
    names_of_models = {_name(name) for name in api["components"]["schemas"]}
    used = sorted(models & names_of_models)
    return (
        '"""Every operation of the API as a `Call`, generated from its OpenAPI document: `make client`."""\n\n'
        "from __future__ import annotations\n\nfrom typing import Any, Literal\nfrom urllib.parse import quote\n\n"
        "from remote_claude.client.calls import Call, Content, as_bytes, as_json, nothing\n"
        f"from remote_claude.client.models import {', '.join(used)}\n\n\n"
        'def _part(text: object) -> str:\n    return quote(str(text), safe="")\n' + functions
    )


def _formatted(text: str) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    for arguments in (["check", "--fix", "--quiet", "--select", "F401,I"], ["format", "--quiet"]):
        done = subprocess.run(
            [ruff, *arguments, "--stdin-filename", CLIENT / "generated.py", "-"],
            input=text, capture_output=True, text=True, check=False, cwd=CLIENT.parents[4],
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        text = done.stdout
    return text


if __name__ == "__main__":
    given = Path(sys.argv[1]).read_bytes() if sys.argv[1:] else asyncio.run(document())
    for file, content in generated(json.loads(given)).items():
        (CLIENT / file).write_text(content)
