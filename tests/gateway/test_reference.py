"""The reference pages and the OpenAPI document say what the code does."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import remote_claude
from gateway_stack import Member, Stack
from remote_claude.contracts.refusals import Refusal
from remote_claude.gateway.settings import PREFIX, GatewaySettings

ROOT = Path(__file__).parents[2]
HTTP = (ROOT / "docs/reference/http.md").read_text()
STREAM = (ROOT / "docs/reference/stream.md").read_text()
SETTINGS = (ROOT / "docs/reference/settings.md").read_text()
SOURCE = ROOT / "services/gateway/src/remote_claude/gateway"
EDGE = ROOT / "shared/src/remote_claude/edge"


def calls(name: str) -> Iterator[ast.Call]:
    """Every call of a function in the gateway's source."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                yield node


def codes(name: str) -> set[str]:
    """The constant second arguments of a function's calls: the codes that it is called with."""
    return {
        node.args[1].value
        for node in calls(name)
        if isinstance(node.args[1], ast.Constant) and isinstance(node.args[1].value, str)
    }


def every(kind: type[Refusal]) -> Iterator[type[Refusal]]:
    """The subclasses of a refusal, and theirs, in all modules of the product."""
    for below in kind.__subclasses__():
        yield below
        yield from every(below)


def test_every_refusal_has_a_status_and_an_entry_with_it() -> None:
    for module in pkgutil.walk_packages(remote_claude.__path__, "remote_claude."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    refusals = [refusal for refusal in every(Refusal) if "code" in vars(refusal)]
    assert len(refusals) > 10
    for refusal in refusals:
        assert re.search(rf"^\| `{refusal.code}` \| {refusal.status} \| .+ \|$", HTTP, re.MULTILINE), refusal


def test_every_code_that_the_gateway_answers_is_documented() -> None:
    found = codes("Problem") | set(re.findall(r'"(\w+_unavailable)"', (EDGE / "problems.py").read_text()))
    assert {"hash_mismatch", "prompt_too_large", "database_unavailable"} <= found
    assert [code for code in found if f"`{code}`" not in HTTP] == []


def test_every_frame_and_code_of_the_stream_is_documented() -> None:
    sent = set(re.findall(r'"?type"?[:=]\s*"([a-z]+)"', (SOURCE / "sockets.py").read_text()))
    sent |= set(re.findall(r'type="([a-z]+)"', (SOURCE / "watchers.py").read_text()))
    assert sent == {"state", "output", "end", "changed", "ended", "batch", "heartbeat", "error"}
    understood = set(re.findall(r'Literal\["([a-z]+)"\]', (SOURCE / "api/stream.py").read_text()))
    for name in sent | understood:
        assert f"| `{name}` |" in STREAM, name
    for code in codes("error_frame"):
        assert f"`{code}`" in STREAM, code


def test_every_setting_is_documented_with_its_default() -> None:
    for name, field in GatewaySettings.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        assert f"| `{PREFIX}{name.upper()}` | `{default}` |" in SETTINGS, name


@pytest.mark.asyncio(loop_scope="module")
async def test_every_endpoint_is_documented_and_named(stack: Stack, member: Member) -> None:
    document: dict[str, Any] = (await member.http.get("/openapi.json")).json()
    operations = {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    names = [operation["operationId"] for operation in operations.values()]
    assert len(set(names)) == len(names)
    assert {"submit_task", "list_tasks", "get_task", "get_task_output", "cancel_task", "put_blob"} <= set(
        names
    )
    for (method, path), operation in operations.items():
        written = path.replace("{task}", "{id}")
        assert re.search(rf"`{method} {re.escape(written)}[?`]", HTTP), (method, path)
        assert operation.get("description") or operation.get("summary")
    submit = operations["POST", "/v1/tasks"]
    assert submit["requestBody"]["content"]["application/json"]["schema"]["required"] == ["prompt", "agent"]
    assert {parameter["name"] for parameter in submit["parameters"]} == {"Idempotency-Key", "wait"}
    read = operations["GET", "/v1/tasks/{task}"]
    assert [p["name"] for p in read["parameters"]] == ["task", "wait", "changed", "min_position"]
    assert "201" in submit["responses"]
    for status in ("402", "409", "413", "422"):
        content = submit["responses"][status]["content"]
        assert content["application/problem+json"]["schema"]["$ref"].endswith("/ProblemDocument")
    assert "ProblemDocument" in document["components"]["schemas"]
    assert "$defs" not in str(document)
