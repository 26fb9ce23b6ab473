"""The Python SDK, against a stack as a user has it."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import client_modules
from product import Product
from remote_claude.client import AsyncClient, Client, NotFound, PermissionDenied, Unauthenticated, operations

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def key(stack: Product) -> str:
    return Path(stack.stack_file()["api_key"]).read_text().strip()


@pytest.fixture
def client(stack: Product, key: str) -> Client:
    return Client(stack.stack_file()["url"], api_key=key)


def test_the_lines_of_the_readme_run_a_task_and_stream_it(stack: Product) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    assert len(block.splitlines()) <= 10
    assert block in (README.parent / "shared/client/README.md").read_text()
    done = subprocess.run(
        [sys.executable, "-c", block], env={**os.environ, **stack.env}, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "hello\nsucceeded 0\n"


def test_the_models_and_operations_are_those_of_the_api(client: Client, stack: Product) -> None:
    for file, text in client_modules.generated(stack.api("/openapi.json").json()).items():
        assert (client_modules.CLIENT / file).read_text() == text, f"{file} is out of date: make client"


def test_pages_uploads_and_a_key_of_idempotency(client: Client, tmp_path: Path) -> None:
    label = {"of": tmp_path.name}
    tasks = [
        client.submit("true", agent="noop", labels=label, idempotency_key=f"{tmp_path.name}-{number}")
        for number in (1, 2, 1, 3)
    ]
    assert tasks[0].id == tasks[2].id
    listed = client.list_tasks(label=[f"of:{tmp_path.name}"], limit=1, min_position=tasks[3].position)
    assert [task["id"] for task in listed] == [tasks[3].id, tasks[1].id, tasks[0].id]
    (file := tmp_path / "file").write_bytes(b"content")
    sha256 = client.upload(file)
    assert client.has_blob(sha256)
    assert not client.has_blob("0" * 64)


def test_refusals_are_exceptions_of_their_own(client: Client, stack: Product) -> None:
    with pytest.raises(NotFound) as missing:
        client.task("task_unknown").get()
    assert missing.value.code == "task_not_found"
    with pytest.raises(Unauthenticated):
        next(Client(client.url, api_key="rck_" + "0" * 38).list_tasks())
    made = client.call(operations.create_key({"name": "reader", "scopes": ["tasks:read"]}))
    with pytest.raises(PermissionDenied) as refused:
        Client(client.url, api_key=made["secret"]).submit("true", agent="noop")
    assert refused.value.status == 403


async def test_many_tasks_at_a_time(client: Client, key: str) -> None:
    async with AsyncClient(client.url, api_key=key) as asked:

        async def run(number: int) -> tuple[str, str]:
            task = await asked.submit(f"echo {number}", agent="shell")
            text = "".join([frame["text"] async for frame in task.output() if frame["kind"] == "output"])
            return text, (await task.wait())["state"]

        done = await asyncio.gather(*(run(number) for number in range(3)))
    assert done == [(f"{number}\n", "succeeded") for number in range(3)]
