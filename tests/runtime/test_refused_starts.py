"""What keeps a process from starting is said in one sentence: what, why, and what to do."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from structlog.testing import capture_logs

from product import clean_environment, environment_of
from remote_claude.access.kek import create_kek
from remote_claude.runtime.broker.connection import BrokerRefused, connect_nats
from remote_claude.runtime.broker.make_streams import make_streams
from remote_claude.runtime.objects import Objects, ObjectsUnusable
from remote_claude.runtime.settings import BrokerSettings
from servers import Broker, until


def started(module: str, environment: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", module, *args],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_role_without_rights_is_named_with_the_grant_that_it_needs(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path
) -> None:
    database = urlsplit(postgres_dsn).path.removeprefix("/")
    with psycopg.connect(postgres_dsn, autocommit=True) as owner:
        owner.execute("DROP ROLE IF EXISTS weak")
        owner.execute("CREATE ROLE weak LOGIN PASSWORD 'made-up'")
    try:
        parts = urlsplit(postgres_dsn)
        weak = parts._replace(netloc=f"weak:made-up@{parts.netloc.rpartition('@')[2]}").geturl()
        create_kek(tmp_path / "kek")
        broker = BrokerSettings(nats_url=fresh_nats.url, nats_credentials=fresh_nats.seed_file)
        asyncio.run(make_streams(broker))
        done = started("remote_claude.users", environment_of(tmp_path, fresh_nats, weak))
    finally:
        with psycopg.connect(postgres_dsn, autocommit=True) as owner:
            owner.execute("DROP ROLE weak")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"postgres_rights_missing: the role weak may not create schemas in the database {database}, and each view "
        f'is one: as its owner, GRANT CREATE ON DATABASE "{database}" TO "weak"'
    )


def test_a_port_that_is_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        environment = clean_environment() | {"RCLAUDE_HOME": str(tmp_path / "home")}
        done = started("remote_claude.runtime.embedded.stack", environment, "--port", str(port))
    assert (done.returncode, f"port {port} of 127.0.0.1 is in use" in done.stderr) == (1, True), done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_home_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    done = started("remote_claude.runtime.embedded.stack", clean_environment() | {"RCLAUDE_HOME": str(home)})
    assert (done.returncode, done.stderr) == (
        1,
        f"{home} can't be used: Not a directory. Set RCLAUDE_HOME to a folder that belongs to you\n",
    )


def test_a_folder_of_objects_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        ObjectsUnusable, match=r"file/objects \(RCLAUDE_OBJECTS\) can't be used: Not a directory\."
    ):
        Objects(str(tmp_path / "file" / "objects"))


async def test_a_broker_that_asks_for_a_credential_is_told_from_one_that_refuses_it(
    fresh_nats: Broker,
) -> None:
    if fresh_nats.seed_file is None:
        pytest.skip("this outside broker takes everybody")
    with pytest.raises(
        BrokerRefused, match="asks for a credential, and none is set: set RCLAUDE_NATS_CREDENTIALS"
    ):
        await connect_nats(BrokerSettings(nats_url=fresh_nats.url), patience=10)


async def test_a_broker_that_is_away_is_logged_once_and_once_more_when_it_is_back(fresh_nats: Broker) -> None:
    settings = BrokerSettings(nats_url=fresh_nats.url, nats_credentials=fresh_nats.seed_file)
    with capture_logs() as lines:

        def events() -> list[str]:
            return [line["event"] for line in lines]

        client = await connect_nats(settings)
        try:
            fresh_nats.kill()
            pool = client._server_pool
            await asyncio.to_thread(until, lambda: pool[0].reconnects >= 5, "five attempts that failed")
            fresh_nats.start()
            await asyncio.to_thread(
                until, lambda: "the broker is back" in events(), "the connection to be back"
            )
        finally:
            await client.close()
    away = [line["error"] for line in lines if line["event"] == "broker connection"]
    assert len(away) == len(set(away)) <= 3
    assert events().count("the broker is back") == 1
