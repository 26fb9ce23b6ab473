"""`rclaude account`: everything about a person in one archive, then none of it anywhere."""

import gzip
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import psycopg
import pytest
import pytest_asyncio

from identity_stack import Installation, installed
from rclaude_process import rclaude, rclaude_admin, signed_in
from remote_claude.access.keyring import KeyErased, Keyring
from remote_claude.contracts import REGISTRY
from remote_claude.eventsourcing.jetstream.event_log import JetStreamEventLog
from remote_claude.eventsourcing.jetstream.streams import keys
from remote_claude.eventsourcing.log import EventLog
from servers import Broker, Database, running_nats

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAME, RENAMED, PROMPT = "Carol Canary", "Carol of the Canaries", "a prompt of the canary"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    postgres_server: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    with running_nats() as broker, postgres_server.fresh() as dsn:
        assert isinstance(broker, Broker)
        async with installed(broker, dsn, tmp_path_factory.mktemp("account")) as running:
            yield running


async def rows_with(dsn: str, text: str) -> list[str]:
    """The tables in which a row has a text."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        tables = await connection.execute(
            "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables"
            " WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
        )
        found = []
        for (table,) in await tables.fetchall():
            query = f"SELECT 1 FROM {table} t WHERE t::text LIKE %s LIMIT 1"
            if await (await connection.execute(query.encode(), [f"%{text}%"])).fetchone():
                found.append(table)
    return found


async def log_bytes(log: EventLog) -> list[tuple[int, bytes, bytes]]:
    """The log as it is stored: position, headers and data of each event."""
    last = await log.last_position()
    return [(e.position, e.headers, e.data) async for batch in log.read(until=last) for e in batch]


async def test_a_person_takes_everything_along_and_is_forgotten(
    installation: Installation, postgres_server: Database, tmp_path: Path
) -> None:
    runtime = installation.host.runtime
    home = tmp_path / "carol"
    user, browser = await installation.another(NAME)
    await signed_in(installation, home, browser=browser)
    submitted = await browser.post("/v1/tasks", json={"prompt": PROMPT, "agent": "shell"})
    assert submitted.status_code in (201, 202), submitted.text
    personal = (await browser.get("/v1/orgs")).json()["orgs"][0]["id"]
    task = {"prompt": PROMPT, "agent": "shell"}
    scheduled = await browser.post("/v1/schedules", json={"cron": "0 7 * * *", "task": task})
    assert scheduled.is_success, scheduled.text
    owner = await installation.browser()
    acme = (await owner.post("/v1/orgs", json={"name": "Acme"})).json()["id"]
    owner.headers["RClaude-Org"] = acme
    link = (await owner.post("/v1/org/invitations", json={"role": "owner"})).json()["url"]
    assert (await rclaude(home, "org", "join", link))[0] == 0

    code, _, err = await rclaude(home, "account", "rename", RENAMED)
    assert code == 0, err
    archive = tmp_path / "carol.zip"
    code, _, err = await rclaude(home, "account", "export", str(archive))
    assert code == 0, err
    with zipfile.ZipFile(archive) as content:
        assert json.loads(content.read("profile.json"))["name"] == RENAMED
        (schedules,) = [
            n for n in content.namelist() if n.startswith(personal) and n.endswith("schedules.json")
        ]
        assert [one["cron"] for one in json.loads(content.read(schedules))] == ["0 7 * * *"]
        assert "TaskSubmitted" in [
            json.loads(line)["type"]
            for n in content.namelist()
            if n.endswith("events.jsonl")
            for line in content.open(n)
        ]
        assert len(json.loads(content.read("organisations.json"))) == 2
        assert json.loads(content.read("sessions.json"))
        tasks = [
            json.loads(line)
            for n in content.namelist()
            if n.endswith("tasks.jsonl")
            for line in content.open(n)
        ]
    assert [task["prompt"] for task in tasks] == [PROMPT]

    # the only owner of an organisation settles that first
    await owner.post("/v1/org/leave")
    code, _, err = await rclaude(home, "account", "delete", user)
    assert (code, acme in err) == (2, True), err
    owner_back = (await browser.post("/v1/orgs", json={"name": "unused"})).json()["id"]
    for org in (acme, owner_back):
        gone = await browser.delete("/v1/org", headers={"RClaude-Org": org})
        assert gone.status_code == 200, gone.text

    before = await log_bytes(runtime.log)
    code, _, err = await rclaude(home, "account", "delete", user)
    assert code == 0, err
    assert (await log_bytes(runtime.log))[: len(before)] == before, "no byte of the log is another"
    assert (await browser.get("/v1/me")).status_code == 401
    code, _, err = await rclaude(home, "whoami")
    assert code != 0
    with pytest.raises(KeyErased):
        await runtime.keyring.get(user)

    # the log still verifies, every view can be built from it, and no plaintext is anywhere
    await rclaude_admin(installation, "log", "verify")
    for view in runtime.projectors:
        await rclaude_admin(installation, "rebuild", view)
    for text in (NAME, RENAMED, PROMPT):
        assert await rows_with(runtime.settings.postgres_dsn, text) == []
        async for batch in runtime.log.read(until=await runtime.log.last_position()):
            assert not [event for event in batch if text.encode() in event.data + event.headers]
    async for batch in runtime.log.read(until=await runtime.log.last_position()):
        for event in batch:
            if event.type in ("UserRegistered", "ProfileChanged") and event.aggregate_id == user:
                with pytest.raises(KeyErased):
                    await runtime.keyring.open(event.event.name, f"{user}/name")

    # a backup that is made now restores everything but the person
    exported, data_keys = tmp_path / "log.jsonl.gz", tmp_path / "keys.jsonl"
    await rclaude_admin(installation, "log", "export", str(exported))
    await rclaude_admin(installation, "broker", "export-keys", str(data_keys))
    for text in (NAME, RENAMED, PROMPT):
        assert text.encode() not in gzip.decompress(exported.read_bytes()) + data_keys.read_bytes()
    with running_nats() as broker, postgres_server.fresh() as dsn:
        restored = {
            "RCLAUDE_NATS_URL": broker.url,
            "RCLAUDE_NATS_CREDENTIALS": str(broker.seed_file or ""),
            "RCLAUDE_POSTGRES_DSN": dsn,
        }
        for command in (
            ("broker", "import-keys", str(data_keys)),
            ("log", "import", str(exported)),
            ("log", "restore"),
            ("log", "verify"),
            ("rebuild", "users_directory"),
        ):
            await rclaude_admin(installation, *command, **restored)
        for text in (NAME, RENAMED, PROMPT):
            assert await rows_with(dsn, text) == []
        client = await nats.connect(**broker.options)
        again = await log_bytes(JetStreamEventLog(client, REGISTRY))
        assert again == (await log_bytes(runtime.log))[: len(again)]
        assert len(again) > len(before), "the erasure is in it"
        assert again[: len(before)] == before
        keyring = Keyring(keys(client), runtime.settings.key_source.load)
        with pytest.raises(KeyErased):
            await keyring.get(user)
        assert await keyring.get(installation.owner.user), "others open"
        await client.close()
