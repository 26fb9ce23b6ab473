"""`rclaude login` and what follows it, as its own process, against a real installation."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from identity_stack import Installation, installed
from servers import Broker, Database, running_nats

RCLAUDE = str(Path(sys.executable).with_name("rclaude"))

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    postgres_server: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    with running_nats() as broker, postgres_server.fresh() as dsn:
        assert isinstance(broker, Broker)
        async with installed(broker, dsn, tmp_path_factory.mktemp("identity")) as running:
            yield running


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RCLAUDE_")}
    nothing = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring", "BROWSER": "true"}
    return {**kept, **nothing, "RCLAUDE_HOME": str(home), **more}


async def rclaude(home: Path, *arguments: str, given: str = "", **more: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        RCLAUDE,
        *arguments,
        env=environment(home, **more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate(given.encode())
    return process.returncode or 0, out.decode(), err.decode()


async def confirm(browser: httpx2.AsyncClient, url: str) -> httpx2.Response:
    page = await browser.get(url)
    assert page.status_code == 200, page.text
    form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text))
    action = re.search(r'action="([^"]+)"', page.text)
    assert action is not None
    return await browser.post(action[1], data=form)


async def signed_in(installation: Installation, home: Path, *how: str) -> str:
    """Run `rclaude login`, and do in a browser what it asks for; what it prints."""
    process = await asyncio.create_subprocess_exec(
        RCLAUDE,
        "login",
        installation.url,
        *how,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    page = ""
    while not page:
        line = (await process.stderr.readline()).decode()
        assert line, "it asks for a browser"
        if found := re.search(r"(http://\S+/(?:oauth/authorize\?\S+|auth/device\?code=\S+))", line):
            page = found[1]
    answer = await confirm(await installation.browser(), page)
    if answer.status_code == 303:  # to the port where the command waits
        with suppress(httpx2.TransportError):
            await installation.client().get(answer.headers["location"])
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.parametrize("how", [(), ("--device",)], ids=["browser", "device"])
async def test_a_person_signs_in_and_works(
    installation: Installation, tmp_path: Path, how: tuple[str, ...]
) -> None:
    said = await signed_in(installation, tmp_path, *how)
    assert installation.owner.user in said
    kept = tmp_path / "tokens/default.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    code, out, err = await rclaude(tmp_path, "whoami")
    assert (code, err) == (0, "")
    assert installation.owner.org in out
    assert "access_token" in out
    code, out, err = await rclaude(tmp_path, "list", "--json")
    assert code == 0, err
    code, out, err = await rclaude(tmp_path, "logout")
    assert code == 0, err
    assert not kept.exists()
    assert (await rclaude(tmp_path, "whoami"))[0] == 4


async def test_a_key_signs_a_machine_in(installation: Installation, tmp_path: Path) -> None:
    key = installation.owner.api_key
    arguments = ("login", installation.url, "--with-key", "--profile", "ci")
    code, out, err = await rclaude(tmp_path, *arguments, given=key + "\n")
    assert code == 0, err
    assert key not in out + err
    code, out, err = await rclaude(tmp_path, "--profile", "ci", "key", "create", "laptop", "--scope", "tasks")
    assert code == 0, err
    assert re.fullmatch(r"rck_\w{38}\n", out)
    code, out, err = await rclaude(tmp_path, "key", "list")
    assert code == 0, err
    assert "laptop" in out
    code, out, err = await rclaude(tmp_path, "whoami", RCLAUDE_PROFILE="nobody")
    assert code == 2
    assert "there are: local, ci" in err


async def test_organisations_are_created_and_switched(installation: Installation, tmp_path: Path) -> None:
    await signed_in(installation, tmp_path)
    code, org, err = await rclaude(tmp_path, "org", "create", "Acme")
    assert code == 0, err
    code, out, err = await rclaude(tmp_path, "org", "switch", org.strip())
    assert (code, out) == (0, "acting for Acme\n"), err
    code, out, err = await rclaude(tmp_path, "org", "member", "list")
    assert code == 0, err
    assert installation.owner.user in out
    code, out, err = await rclaude(tmp_path, "org", "member", "invite", "bob@example.com", "--role", "admin")
    assert code == 0, err
    assert "/join?token=" in out
    code, out, err = await rclaude(tmp_path, "org", "switch", "Nothing")
    assert code == 2
