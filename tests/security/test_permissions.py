"""Who may say what to the broker: every credential tries everything, on a real broker with the generated accounts."""

import asyncio
import contextlib
import json
import os
import stat
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

import forking
from event_logs import JsonCodec, happened, until
from remote_claude.contracts import EVENTS
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.jetstream.streams import StreamsMissing, ensure_log, ensure_streams
from remote_claude.eventsourcing.log import NotPermitted
from remote_claude.gateway.service import build as build_gateway
from remote_claude.runtime.broker.accounts import ADMIN, TOGETHER
from remote_claude.runtime.broker.broker_permissions import generate, grants, services
from remote_claude.runtime.broker.connection import BrokerRefused
from remote_claude.runtime.embedded import NatsServer, NatsUser, find_nats
from remote_claude.runtime.embedded.home import free_port
from remote_claude.runtime.host import hosting
from servers import Broker, OwnServer, nats_with_accounts, scratch_home, settings_for

As = Callable[[str], Broker]

STREAMS = ("EVENTS", "OUTPUT", "KV_KEYS")
EVENT_FAMILIES = sorted(
    {f"ev.{e.producer}.{'org_1' if e.in_organisation else '_'}.{e.aggregate}.one" for e in EVENTS.values()}
)
NO_FAMILIES = (
    "ev.gateway.org_1.nothing.one",
    "ev.nobody.org_1.task.one",
    "ev.gateway",
    "ev.gateway.a.task.b.c",
)
STORES = ("out.org_1.task-1", "$KV.KEYS.org_1", "$KV.OTHER.org_1", "lease.renew", "lease.other")
CHANGES_STREAMS = (
    "STREAM.CREATE.{s}", "STREAM.UPDATE.{s}", "STREAM.DELETE.{s}", "STREAM.PURGE.{s}", "STREAM.MSG.DELETE.{s}",
    "STREAM.SNAPSHOT.{s}", "STREAM.RESTORE.{s}", "STREAM.PEER.REMOVE.{s}", "STREAM.LEADER.STEPDOWN.{s}",
    "ACCOUNT.STREAM.MOVE.log.{s}", "ACCOUNT.STREAM.CANCEL_MOVE.log.{s}", "CONSUMER.DELETE.{s}.probe",
)  # fmt: skip
OTHER_API = (
    "STREAM.INFO.{s}", "STREAM.MSG.GET.{s}", "DIRECT.GET.{s}", "DIRECT.GET.{s}.ev.gateway.org_1.task.one",
    "CONSUMER.CREATE.{s}", "CONSUMER.CREATE.{s}.mine", "CONSUMER.CREATE.{s}.mine.ev.gateway.>",
    "CONSUMER.DURABLE.CREATE.{s}.mine", "CONSUMER.NAMES.{s}", "CONSUMER.LIST.{s}", "CONSUMER.INFO.{s}.probe",
    "CONSUMER.PAUSE.{s}.probe", "CONSUMER.RESET.{s}.probe", "CONSUMER.UNPIN.{s}.probe",
    "CONSUMER.LEADER.STEPDOWN.{s}.probe", "CONSUMER.MSG.NEXT.{s}.probe",
)  # fmt: skip
OF_NO_STREAM = (
    "INFO", "STREAM.NAMES", "STREAM.LIST", "STREAM.CREATE.NEW", "STREAM.TEMPLATE.CREATE.one", "STREAM.TEMPLATE.NAMES",
    "META.LEADER.STEPDOWN", "SERVER.REMOVE", "ACCOUNT.PURGE.log",
)  # fmt: skip
JETSTREAM = [
    *(f"$JS.API.{call.format(s=stream)}" for call in (*CHANGES_STREAMS, *OTHER_API) for stream in STREAMS),
    *(f"$JS.API.{call}" for call in OF_NO_STREAM),
    *(f"$JS.ACK.{stream}.probe.1.1.1.1.0" for stream in STREAMS),
    *(f"$JS.FC.{stream}.probe.one" for stream in STREAMS),
    "$JS.EVENT.ADVISORY.API",
    "$JS.log.API.STREAM.DELETE.EVENTS",
]
OF_THE_BROKER = (
    "$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.log.JSZ", "$SYS.REQ.CLAIMS.UPDATE", "$SYS.ACCOUNT.log.CONNECT",
    "_INBOX.somebody.1", "_R_.somebody.1", "nothing.one", "anything",
)  # fmt: skip
PUBLISHED = {
    "events": EVENT_FAMILIES,
    "no events": NO_FAMILIES,
    "stores": STORES,
    "jetstream": JETSTREAM,
    "the broker": OF_THE_BROKER,
}
SUBSCRIBED = (
    *EVENT_FAMILIES, "ev.>", "out.>", "out.org_1.task-1", "$KV.>", "$KV.KEYS.>", "$JS.>", "$JS.API.>",
    "$JS.API.STREAM.CREATE.EVENTS", "$JS.EVENT.ADVISORY.>", "$SYS.>", "_R_.>", "_INBOX.>", "_INBOX.other.*",
    "lease.renew", "lease.>", "nothing.>", ">", "*", "*.*",
)  # fmt: skip
CREDENTIALS = [*services(), TOGETHER]


def covers(pattern: str, subject: str) -> bool:
    """Whether a subject is within what a pattern says, wildcards of its own included."""
    wanted, tokens = pattern.split("."), subject.split(".")
    for n, part in enumerate(wanted):
        if part == ">":
            return len(tokens) > n
        if n >= len(tokens) or tokens[n] == ">" or (part != "*" and part != tokens[n]):
            return False
    return len(tokens) == len(wanted)


granted = cache(grants)


def may_publish(user: str, subject: str) -> bool:
    return any(covers(pattern, subject) for pattern in granted()[user].publish)


def may_answer(user: str, subject: str) -> bool:
    """Where its account has the answers to what it is asked: only the account itself can listen there."""
    forwarded, own = ("_R_.>",), ("_INBOX.>",)
    answers = {"scheduler": forwarded, "billing": forwarded, "auth": forwarded + own, TOGETHER: own}
    return any(covers(pattern, subject) for pattern in answers.get(user, ()))


def may_subscribe(user: str, subject: str) -> bool:
    return any(covers(pattern, subject) for pattern in ("_INBOX.>", *granted()[user].answers))


def request(subject: str) -> bytes:
    """What a call needs so that it is answered, and does what it is there for."""
    verb, _, stream = subject.removeprefix("$JS.API.").rpartition(".")
    tokens = subject.split(".")
    if subject.startswith("$JS.API.CONSUMER.CREATE."):
        config = {"name": "mine", "ack_policy": "none", "mem_storage": True}
        config |= {"filter_subject": ".".join(tokens[6:])} if len(tokens) > 6 else {}
        return json.dumps({"stream_name": tokens[4], "config": config}).encode()
    if subject.startswith("$JS.API.CONSUMER.MSG.NEXT."):
        return b'{"batch": 1, "no_wait": true}'
    if verb in ("DIRECT.GET", "STREAM.MSG.GET"):
        return b'{"seq": 1}'
    if verb in ("STREAM.CREATE", "STREAM.UPDATE"):
        return json.dumps({"name": stream, "max_msgs": 1, "discard": "old"}).encode()
    return b"" if subject.startswith(("$JS.API.", "$SYS.")) else b'{"x": 1}'


class Connection:
    """A connection that remembers what it was refused, and who has answered."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.answers: dict[int, bytes] = {}

    async def handle(self, error: Exception) -> None:
        self.refused.append(str(error).split('"')[1])

    def passes_answers(self, n: int) -> Callable[[Msg], Awaitable[None]]:
        async def hear(message: Msg) -> None:
            self.answers.setdefault(n, message.data)

        return hear


@asynccontextmanager
async def connected(broker: Broker) -> AsyncIterator[tuple[Client, Connection]]:
    connection = Connection()
    client = await nats.connect(**broker.options, error_cb=connection.handle)
    yield client, connection
    await client.close()


async def settled(client: Client) -> None:
    """Everything sent, and refused if it is. nats-py lets its first ping overtake what waits to be sent."""
    await client.flush()
    await client.flush()


@pytest.fixture
def as_user() -> Iterator[As]:
    with nats_with_accounts() as as_user:
        yield as_user


@asynccontextmanager
async def administered(as_user: As) -> AsyncIterator[Client]:
    """The streams, with something in each that could be lost, and a consumer of somebody else's."""
    async with connected(as_user(ADMIN)) as (admin, _):
        await ensure_streams(admin)
        stream = admin.jetstream()
        await stream.publish("ev.gateway.org_0.task.first", b"{}")
        await stream.publish("out.org_0.task-1", b"{}")
        await stream.publish("$KV.KEYS.org_0", b"{}")
        for name in STREAMS:
            config = {"name": "probe", "ack_policy": "none", "mem_storage": True}
            body = json.dumps({"stream_name": name, "config": config}).encode()
            await admin.request(f"$JS.API.CONSUMER.CREATE.{name}.probe", body, timeout=10)
        yield admin


async def everything(admin: Client) -> dict[str, Any]:
    """The streams as they are: their configuration, their messages, and their consumers' names."""
    found = {}
    for info in await admin.jetstream().streams_info():
        names = await admin.request(f"$JS.API.CONSUMER.NAMES.{info.config.name}", timeout=10)
        found[str(info.config.name)] = (
            info.config, info.state.first_seq, info.state.last_seq, info.state.messages, json.loads(names.data)["consumers"],
        )  # fmt: skip
    return found


def test_the_broker_keeps_no_note_of_what_it_delivers() -> None:
    """For one who may answer whatever reaches it, it would of each event of the log."""
    assert "allow_responses" not in json.dumps(generate())


@pytest.mark.parametrize("user", CREDENTIALS)
async def test_a_credential_may_publish_what_is_declared_and_nothing_else(as_user: As, user: str) -> None:
    async with administered(as_user) as admin, connected(as_user(user)) as (client, seen):
        scheduler = await nats.connect(**as_user("scheduler" if user != TOGETHER else user).options)

        async def renewed(message: Msg) -> None:
            await message.respond(b"{}")

        await scheduler.subscribe("lease.renew", cb=renewed)
        await settled(scheduler)
        before = await everything(admin)
        inbox = client.new_inbox()
        attempts = [(what, subject) for what, subjects in PUBLISHED.items() for subject in subjects]
        for n, (_, subject) in enumerate(attempts):
            await client.subscribe(f"{inbox}.{n}", cb=seen.passes_answers(n))
            await client.publish(subject, request(subject), reply=f"{inbox}.{n}")
        await settled(client)

        declared = {n for n, (_, subject) in enumerate(attempts) if may_publish(user, subject)}
        with contextlib.suppress(TimeoutError):
            await until(lambda: declared <= seen.answers.keys(), 10)
        assert [attempts[n] for n in declared - seen.answers.keys()] == []
        await settled(client)
        answers = {n for n, (_, subject) in enumerate(attempts) if may_answer(user, subject)}
        let_through = declared | answers
        refused = sorted(subject.lower() for n, (_, subject) in enumerate(attempts) if n not in let_through)
        assert sorted(seen.refused) == refused
        assert seen.answers.keys() == let_through
        assert not any(seen.answers[n] for n in answers), "somebody listens where only askers do"
        assert not [data for data in seen.answers.values() if b"not enabled" in data]

        tried = {what: len(subjects) for what, subjects in PUBLISHED.items()}
        let = {what: sum(attempts[n][0] == what for n in declared) for what in tried}
        print(f"{user}: tried {tried}, may {let}")
        assert all(tried.values())
        assert let["events"] > 0
        assert let["jetstream"] > 0
        assert let["no events"] == let["the broker"] == 0

        after = await everything(admin)
        for (
            name,
            kept,
        ) in before.items():  # nothing changed or lost; new are its own events, output, key, consumers
            config, first, last, messages, consumers = after[name]
            assert (config, first) == kept[:2]
            new = sum(attempts[n][1].startswith(OWN[name]) for n in declared)
            assert (last, messages) == (kept[2] + new, kept[3] + new)
            assert set(consumers) - {"mine"} == set(kept[4])
        assert after.keys() == before.keys()
        await scheduler.close()


OWN = {"EVENTS": "ev.", "OUTPUT": "out.", "KV_KEYS": "$KV.KEYS."}


@pytest.mark.parametrize("user", CREDENTIALS)
async def test_a_credential_may_subscribe_to_what_is_declared_and_nothing_else(
    as_user: As, user: str
) -> None:
    async with connected(as_user(user)) as (client, seen):
        for subject in SUBSCRIBED:
            await client.subscribe(subject, cb=seen.passes_answers(0))
        await settled(client)
        refused = [subject for subject in SUBSCRIBED if not may_subscribe(user, subject)]
        assert sorted(seen.refused) == sorted(subject.lower() for subject in refused)
        assert 0 < len(refused) < len(SUBSCRIBED)


ERASES = "$JS.API.STREAM.MSG.DELETE.KV_KEYS"
"""Overwrites a data key. Who writes data keys may purge them anyway."""


def test_no_declaration_reaches_what_only_an_administrator_may() -> None:
    calls = [f"$JS.API.{call.format(s=stream)}" for call in CHANGES_STREAMS for stream in STREAMS]
    calls += ["$JS.API.STREAM.CREATE.NEW", "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.mine"]
    calls.remove(ERASES)
    assert [(u, call) for u in CREDENTIALS for call in calls if may_publish(u, call)] == []


def test_who_may_say_what_is_as_intended() -> None:
    """Written by hand, so that the declarations are held to something that is not made from them."""

    def those_who_may(subject: str) -> set[str]:
        return {user for user in services() if may_publish(user, subject)}

    for subject in EVENT_FAMILIES:
        assert those_who_may(subject) == {subject.split(".")[1]}
    everybody = {"auth", "billing", "gateway", "runner", "scheduler", "users"}
    assert those_who_may("$JS.API.CONSUMER.CREATE.EVENTS.one") == everybody
    assert those_who_may("$KV.KEYS.org_1") == {
        "auth",
        "users",
    }  # auth seals each identity under a key of its own
    assert those_who_may(ERASES) == {"auth", "users"}
    assert those_who_may("$JS.API.STREAM.MSG.GET.KV_KEYS") == {
        "auth",
        "billing",
        "gateway",
        "runner",
        "users",
    }
    assert those_who_may("$JS.API.CONSUMER.CREATE.KV_KEYS.one") == set()
    assert those_who_may("out.org_1.task-1") == {"runner"}
    assert those_who_may("$JS.API.DIRECT.GET.OUTPUT") == {"gateway"}
    assert those_who_may("lease.renew") == {"runner"}
    assert {user for user in services() if may_subscribe(user, "lease.renew")} == {"scheduler"}


async def test_the_administrator_may_do_everything(as_user: As) -> None:
    async with administered(as_user), connected(as_user(ADMIN)) as (client, seen):
        for subject in (
            *EVENT_FAMILIES,
            *STORES,
            "$JS.API.STREAM.PURGE.OUTPUT",
            "$JS.API.STREAM.DELETE.OUTPUT",
        ):
            await client.publish(subject, b"")
        await settled(client)
        assert seen.refused == []

        async def deleted() -> bool:
            return {i.config.name for i in await client.jetstream().streams_info()} == {"EVENTS", "KV_KEYS"}

        await until(deleted)


# Ways round


TARGETS = (
    "$JS.API.STREAM.PURGE.OUTPUT", "$JS.API.STREAM.DELETE.KV_KEYS", "$KV.KEYS.org_0", "out.org_0.task-2",
    "ev.billing.org_0.account.org_0", "ev.users.org_0.org.org_0",
)  # fmt: skip


async def try_ways_round(client: Client, own: str) -> None:
    """Have JetStream say for us what we may not: as the answer to a request, and as what a consumer delivers."""
    await client.request(own, b"", timeout=10)
    for n, target in enumerate(TARGETS):
        asked = json.dumps({"last_by_subj": own}).encode()
        await client.publish("$JS.API.DIRECT.GET.EVENTS", asked, reply=target)
        await client.publish("$JS.API.STREAM.INFO.EVENTS", b"", reply=target)
        config = {"name": f"push-{n}", "ack_policy": "none", "mem_storage": True, "deliver_subject": target}
        body = json.dumps({"stream_name": "EVENTS", "config": config}).encode()
        await client.request(f"$JS.API.CONSUMER.CREATE.EVENTS.push-{n}", body, timeout=10)
        pull = {"name": f"pull-{n}", "ack_policy": "none", "mem_storage": True}
        body = json.dumps({"stream_name": "EVENTS", "config": pull}).encode()
        await client.request(f"$JS.API.CONSUMER.CREATE.EVENTS.pull-{n}", body, timeout=10)
        await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.EVENTS.pull-{n}", b'{"batch": 10}', reply=target)
    await client.request(own, b"", timeout=5)  # after all of it


def kept(streams: dict[str, Any]) -> dict[str, Any]:
    return {name: (config, *numbers) for name, (config, *numbers, _) in streams.items()}


@pytest.mark.parametrize("user", ["gateway", "scheduler", "auth"])
async def test_nothing_is_reached_by_way_of_an_answer_or_of_a_consumer(as_user: As, user: str) -> None:
    own = next(subject for subject in EVENT_FAMILIES if subject.startswith(f"ev.{user}."))
    async with administered(as_user) as admin, connected(as_user(user)) as (client, _):
        before = kept(await everything(admin))
        await try_ways_round(client, own)
        after = kept(await everything(admin))
        config, first, last, messages = before["EVENTS"]
        assert after == {**before, "EVENTS": (config, first, last + 2, messages + 2)}


async def test_permissions_within_one_account_would_not_hold() -> None:
    """Why there are accounts. Should a broker refuse this one day, they are no longer needed."""
    may = sorted(granted()["gateway"].publish)
    users = [NatsUser(name=ADMIN), NatsUser(name="gateway", publish=may, subscribe=["_INBOX.>"])]
    with scratch_home() as home:
        spec = NatsServer(folder=home.nats, port=home.port("nats"), users=users, binary=find_nats())
        server = OwnServer(spec.prepare(), spec.answers, home.log)
        try:

            def as_user(user: str) -> Broker:
                return Broker(server, spec.url, spec.seed_file(user))

            async with administered(as_user) as admin, connected(as_user("gateway")) as (client, seen):
                await try_ways_round(client, "ev.gateway.org_1.task.one")
                streams = await everything(admin)
                assert seen.refused == []
                assert "KV_KEYS" not in streams or streams["EVENTS"][3] > 3
        finally:
            server.stop()


async def test_nobody_hears_anothers_answers(as_user: As) -> None:
    async with (
        administered(as_user),
        connected(as_user("gateway")) as (listener, _),
        connected(as_user("users")) as (client, _),
    ):
        heard: list[Msg] = []

        async def hear(message: Msg) -> None:
            heard.append(message)

        await listener.subscribe("_INBOX.>", cb=hear)
        await settled(listener)
        answer = await client.request("$JS.API.STREAM.MSG.GET.KV_KEYS", b'{"seq": 1}', timeout=10)
        assert b"org_0" in answer.data
        await settled(listener)
        assert heard == []


# What a service sees of it


async def test_an_append_that_is_not_permitted_fails_at_once_and_hurts_no_other(as_user: As) -> None:
    async with (
        administered(as_user),
        connected(as_user("gateway")) as (client, _),
        JetStreamEventLog(client, JsonCodec(), bound=300.0, attempt_timeout=300.0) as log,
    ):
        for group in (2, 40):  # side by side, and as one batch
            own = [f"ev.gateway.org_1.task.own-{group}-{n}" for n in range(group)]
            foreign = "ev.billing.org_1.account.org_1"
            done = await outcomes(log, [*own[:-1], foreign, own[-1]])
            assert isinstance(done.pop(-2), NotPermitted)
            assert all(isinstance(position, int) for position in done)


async def outcomes(log: JetStreamEventLog, streams: Sequence[str]) -> list[Any]:
    async with asyncio.timeout(60):
        appends = (log.append(stream, [happened()], expected_position=0) for stream in streams)
        return await asyncio.gather(*appends, return_exceptions=True)


async def test_a_service_on_a_broker_without_streams_says_who_makes_them(as_user: As) -> None:
    async with connected(as_user("gateway")) as (client, _):
        with pytest.raises(StreamsMissing, match="rclaude-admin broker init"):
            await ensure_log(client)


async def test_a_service_with_anothers_credential_says_so_and_does_not_begin(
    as_user: As, postgres_dsn: str, tmp_path: Path
) -> None:
    async with administered(as_user):
        settings = settings_for(as_user("auth"), postgres_dsn, tmp_path)
        with pytest.raises(BrokerRefused, match="may not append the events of gateway: RCLAUDE_NATS_CRED"):
            async with hosting([build_gateway], settings, {}):
                pass
        async with hosting([build_gateway], settings_for(as_user("gateway"), postgres_dsn, tmp_path), {}):
            pass


def test_the_printed_accounts_make_a_broker(tmp_path: Path) -> None:
    """As the guide has it: included in the configuration of a broker of one's own."""
    seeds, port = tmp_path / "seeds", free_port()
    printed = admin_command("broker", "accounts", str(seeds)).stdout
    assert admin_command("broker", "accounts", str(seeds)).stdout == printed
    assert sorted(file.stem for file in seeds.iterdir()) == sorted([*CREDENTIALS, ADMIN])
    assert {stat.S_IMODE(file.stat().st_mode) for file in seeds.iterdir()} == {0o600}
    (tmp_path / "accounts.conf").write_text(printed)
    jetstream = f'jetstream {{ store_dir: "{tmp_path}/data", sync_interval: always }}'
    (tmp_path / "nats.conf").write_text(f"listen: 127.0.0.1:{port}\n{jetstream}\ninclude ./accounts.conf\n")
    broker = subprocess.Popen([find_nats(), "--config", tmp_path / "nats.conf"], stderr=subprocess.DEVNULL)
    try:
        where = {"RCLAUDE_NATS_URL": f"nats://127.0.0.1:{port}"}
        as_gateway = admin_command(
            "broker", "init", **where, RCLAUDE_NATS_CREDENTIALS=str(seeds / "gateway.nk")
        )
        assert (as_gateway.returncode, "does not permit" in as_gateway.stderr) == (2, True)
        for _ in range(2):
            done = admin_command("broker", "init", **where, RCLAUDE_NATS_CREDENTIALS=str(seeds / "admin.nk"))
            assert done.returncode == 0, done.stderr
    finally:
        broker.terminate()
        broker.wait(30)


def admin_command(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    whole = {**os.environ, **environment}
    done = forking.run("rclaude-admin", *args, cwd=Path.cwd(), env=whole, timeout=60)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
