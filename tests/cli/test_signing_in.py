"""`rclaude login` and what follows it, as its own process, against a real installation."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway_stack import eventually
from identity_stack import Installation, installed
from rclaude_process import rclaude, signed_in
from remote_claude.runtime.used_keys import UsedKeyReports
from servers import Broker, Database, running_nats

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    postgres_server: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    with running_nats() as broker, postgres_server.fresh() as dsn:
        assert isinstance(broker, Broker)
        async with installed(broker, dsn, tmp_path_factory.mktemp("identity")) as running:
            yield running


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
    runtime = installation.host.runtime
    await UsedKeyReports(runtime.nats, runtime.verifier.keys).report()

    async def used() -> set[str]:
        code, out, err = await rclaude(tmp_path, "key", "list", "--json")
        assert code == 0, err
        return {k["id"] if k["name"] is None else k["name"] for k in json.loads(out) if k["used_at"]}

    assert await eventually(used, "the last use of the key is shown") == {installation.owner.key}
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


async def test_tokens_are_in_the_systems_keyring_where_one_works(
    installation: Installation, tmp_path: Path
) -> None:
    home, kept = tmp_path / "home", tmp_path / "keyring"
    works = {
        "PYTHON_KEYRING_BACKEND": "keyring_in_a_file.FileKeyring",
        "PYTHONPATH": str(Path(__file__).parents[1] / "keyrings"),
        "KEYRING_FILE": str(kept),
    }
    key = installation.owner.api_key
    code, _, err = await rclaude(home, "login", installation.url, "--with-key", given=key, **works)
    assert code == 0, err
    assert key in kept.read_text()
    assert not [file for file in home.rglob("*") if file.is_file() and key in file.read_text()]
    code, out, err = await rclaude(home, "whoami", **works)
    assert code == 0, err
    assert installation.owner.user in out
    assert (await rclaude(home, "logout", **works))[0] == 0
    assert key not in kept.read_text()
