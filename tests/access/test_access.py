"""Keys that open, keys that don't, and who is asking."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nats
import pytest

from remote_claude.access import credential_secrets
from remote_claude.access.kek import KeySource, KeyUnusable, create_kek
from remote_claude.access.keyring import KEPT_S, KeyErased, Keyring
from remote_claude.access.principal import ApiKey, Identity, Presented, Principal, ServiceAccountKey
from remote_claude.access.refusals import (
    OrgNotFound,
    PersonRequired,
    RoleMissing,
    ScopeMissing,
    Unauthenticated,
)
from remote_claude.access.scopes import ALL_SCOPES, SCOPES, allows
from remote_claude.access.verifier import Verifier
from remote_claude.contracts import REGISTRY, Event, Sealed
from remote_claude.contracts.auth import ApiKeyIssued, ApiKeyRevoked
from remote_claude.contracts.users import MemberJoined, ServiceAccountCreated, ServiceAccountRemoved
from remote_claude.eventsourcing.events import NewEvent, RecordedEvent, new_event_id, stream_id, timestamp
from remote_claude.eventsourcing.jetstream.streams import KEYS, ensure_streams, keys
from remote_claude.eventsourcing.memory import InMemoryEventLog
from remote_claude.eventsourcing.tail import Tail
from servers import Broker, running_nats

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
async def bucket(fresh_nats: Broker) -> AsyncIterator[nats.js.kv.KeyValue]:
    client = await nats.connect(**fresh_nats.options)
    try:
        await ensure_streams(client)
        yield keys(client)
    finally:
        await client.close()


async def test_what_is_sealed_opens_with_its_key_in_its_place_only(bucket: nats.js.kv.KeyValue) -> None:
    keyring = Keyring(bucket, b"k" * 32)
    acme, rival = await keyring.create("org_acme"), await keyring.create("org_rival")
    sealed = acme.seal("a secret", "task_1/prompt")
    assert await keyring.open(sealed, "task_1/prompt") == "a secret"
    assert acme.seal("a secret", "task_1/prompt").box != sealed.box, "never the same twice"
    with pytest.raises(KeyUnusable):
        await keyring.open(sealed, "task_2/prompt")
    with pytest.raises(KeyUnusable):
        rival.open(sealed, "task_1/prompt")


async def test_a_key_is_made_once_and_outlives_the_process(bucket: nats.js.kv.KeyValue) -> None:
    sealed = (await Keyring(bucket, b"k" * 32).create("org_acme")).seal("kept", "here")
    again = Keyring(bucket, b"k" * 32)
    await again.create("org_acme")
    assert await again.open(sealed, "here") == "kept"


async def test_another_key_encryption_key_opens_nothing(bucket: nats.js.kv.KeyValue) -> None:
    await Keyring(bucket, b"k" * 32).create("org_acme")
    with pytest.raises(KeyUnusable):
        await Keyring(bucket, b"x" * 32).get("org_acme")


async def test_an_erased_key_leaves_nothing_in_the_brokers_files() -> None:
    """So that no copy of them that is made later has it, and the key-encryption key opens nothing of it."""
    with running_nats() as broker:
        client = await nats.connect(**broker.options)
        await ensure_streams(client)
        keyring = Keyring(keys(client), b"k" * 32)
        kept, erased = "user_kept", "user_erased"
        for name in (erased, kept):
            await keyring.create(name)
        boxes = {name: (await keys(client).get(name)).value or b"" for name in (erased, kept)}
        await Keyring(keys(client), lambda: [b"n" * 32, b"k" * 32]).rewrap()
        rotated = {name: (await keys(client).get(name)).value or b"" for name in (erased, kept)}
        await keyring.erase(erased)
        await keyring.erase(erased)  # again changes nothing
        await client.close()
        assert broker.seed_file is not None
        files = [path.read_bytes() for path in broker.seed_file.parent.rglob("*.blk")]
        found = [
            any(box[name] in content for content in files)
            for box in (boxes, rotated)
            for name in (erased, kept)
        ]
        assert found == [False, False, False, True], "nor under a key-encryption key of before a rotation"


async def test_an_erased_key_is_gone(bucket: nats.js.kv.KeyValue) -> None:
    keyring = Keyring(bucket, b"k" * 32)
    sealed = (await keyring.create("user_1")).seal("Ada", "user_1/name")
    await keyring.erase("user_1")
    with pytest.raises(KeyErased):
        await keyring.open(sealed, "user_1/name")
    with pytest.raises(KeyErased):
        await keyring.get("user_never")


async def test_what_a_lost_key_sealed_is_erased_though_there_is_another_of_its_name(
    fresh_nats: Broker,
) -> None:
    client = await nats.connect(**fresh_nats.options)
    await ensure_streams(client)
    now = 1000.0
    up = Keyring(keys(client), b"k" * 32, lambda: now)  # all the time
    sealed = (await up.create("org_acme")).seal("a secret", "here")
    await client.jetstream().publish("ev.users._.user.user_1", b"{}")
    await client.jetstream().delete_stream(f"KV_{KEYS}")
    await ensure_streams(client, new_keys=True)
    keyring = Keyring(keys(client), b"k" * 32)
    again = await keyring.create("org_acme")
    with pytest.raises(KeyErased):
        again.open(sealed, "here")
    assert await keyring.open(again.seal("another", "here"), "here") == "another"
    now += KEPT_S
    with pytest.raises(KeyErased):
        await up.open(sealed, "here")
    await client.close()


async def test_a_key_that_was_erased_elsewhere_opens_nothing_after_seconds(
    bucket: nats.js.kv.KeyValue,
) -> None:
    now = 1000.0
    reader = Keyring(bucket, b"k" * 32, lambda: now)
    sealed = (await Keyring(bucket, b"k" * 32).create("user_1")).seal("Ada", "user_1/name")
    assert await reader.open(sealed, "user_1/name") == "Ada"
    await Keyring(bucket, b"k" * 32).erase("user_1")
    now += KEPT_S
    with pytest.raises(KeyErased):
        await reader.open(sealed, "user_1/name")


async def test_a_key_that_is_in_use_is_read_once_in_seconds(bucket: nats.js.kv.KeyValue) -> None:
    now = 1000.0
    keyring = Keyring(bucket, b"k" * 32, lambda: now)
    key = await keyring.create("org_acme")
    now += KEPT_S / 2
    assert await keyring.get("org_acme") is key
    now += KEPT_S / 2
    again = await keyring.get("org_acme")
    assert again is not key
    assert again.open(key.seal("kept", "here"), "here") == "kept"


async def test_those_who_ask_for_a_key_meanwhile_share_one_reading_of_it(
    bucket: nats.js.kv.KeyValue,
) -> None:
    await Keyring(bucket, b"k" * 32).create("org_acme")
    keyring = Keyring(bucket, b"k" * 32)
    impatient = asyncio.create_task(keyring.get("org_acme"))
    others = [asyncio.create_task(keyring.get("org_acme")) for _ in range(50)]
    await asyncio.sleep(0)  # they have asked
    impatient.cancel()
    first, *rest = await asyncio.gather(*others)
    assert all(key is first for key in rest)
    assert await keyring.get("org_acme") is first


async def test_what_was_being_read_when_its_key_was_erased_is_not_kept(bucket: nats.js.kv.KeyValue) -> None:
    keyring = Keyring(bucket, b"k" * 32)
    await Keyring(bucket, b"k" * 32).create("user_1")
    reading = asyncio.create_task(keyring.get("user_1"))
    await asyncio.sleep(0)
    await keyring.erase("user_1")
    await asyncio.wait([reading])
    with pytest.raises(KeyErased):
        await keyring.get("user_1")


def test_the_key_encryption_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    create_kek(tmp_path / "kek")
    made = KeySource(tmp_path / "kek").load()
    create_kek(tmp_path / "kek")
    assert KeySource(tmp_path / "kek").load() == made
    assert (tmp_path / "kek").stat().st_mode & 0o777 == 0o600
    (tmp_path / "kek").write_text("c2hvcnQ=")
    with pytest.raises(KeyUnusable):
        KeySource(tmp_path / "kek").load()


def test_a_mistyped_api_key_is_told_from_a_key() -> None:
    key = credential_secrets.generate()
    assert credential_secrets.is_well_formed(key)
    assert not credential_secrets.is_well_formed(key[:-1])
    assert not credential_secrets.is_well_formed(key[:10] + ("a" if key[10] != "a" else "b") + key[11:])
    assert not credential_secrets.is_well_formed("rck_" + "é" * 38)


class Auth:
    """What auth has said, and a verifier that folds it."""

    def __init__(self) -> None:
        self.log = InMemoryEventLog(REGISTRY)
        self.verifier = Verifier(self.log, Tail(self.log), lambda: NOW)
        self._positions: dict[str, int] = {}

    async def say(self, event: Event, key: str) -> None:
        await self.append(event, stream_id("auth", "org_acme", "key", key))

    async def append(self, event: Event, stream: str) -> None:
        new = NewEvent(event=event, event_id=new_event_id(), occurred_at=timestamp(NOW))
        self._positions[stream] = await self.log.append(
            stream, [new], expected_position=self._positions.get(stream, 0)
        )

    def who(self, header: str | None) -> Identity:
        return self.verifier.identify(Presented(authorization=header))

    def admit(self, header: str, operation: str) -> Principal:
        return self.verifier.admit(Presented(authorization=header), operation)

    async def issue(
        self,
        key: str,
        expires: datetime | None = None,
        *,
        user: str = "user_1",
        scopes: tuple[str, ...] = ("tasks",),
    ) -> str:
        secret = credential_secrets.generate()
        await self.say(
            ApiKeyIssued(
                key=key,
                org="org_acme",
                user=user,
                prefix=secret[:10],
                hash=credential_secrets.digest(secret),
                scopes=scopes,
                expires_at=timestamp(expires) if expires else None,
            ),
            key,
        )
        return secret


async def test_a_live_key_names_its_principal() -> None:
    auth = Auth()
    secret = await auth.issue("key_1")
    await auth.verifier.load()
    principal = auth.who(f"Bearer {secret}")
    assert (principal.org, principal.user, principal.credential) == ("org_acme", "user_1", ApiKey("key_1"))


async def test_a_key_is_good_for_its_scopes_only() -> None:
    auth = Auth()
    secret = await auth.issue("key_1")
    joined = MemberJoined(org="org_acme", user="user_1", role="owner")
    await auth.append(joined, stream_id("users", "org_acme", "org", "org_acme"))
    await auth.verifier.load()
    for operation in ("submit_task", "list_tasks"):
        assert auth.admit(f"Bearer {secret}", operation).credential.id == "key_1"
    for operation, scope in (("get_bill", "billing"), ("status", "operations")):
        with pytest.raises(ScopeMissing, match=f"`{scope}`.*has: tasks"):
            auth.admit(f"Bearer {secret}", operation)
    with pytest.raises(Unauthenticated):
        auth.admit("Bearer nonsense", "submit_task")


async def test_a_service_account_is_no_person_and_its_scopes_decide() -> None:
    auth = Auth()
    stream = stream_id("users", "org_acme", "service_account", "sa_1")
    secret = await auth.issue("key_1", user="sa_1", scopes=("tasks", "org", "account"))
    await auth.verifier.load()
    with pytest.raises(Unauthenticated, match="service account"):
        auth.who(f"Bearer {secret}")
    name = Sealed(key="org_acme", box="box")
    await auth.append(
        ServiceAccountCreated(org="org_acme", service_account="sa_1", name=name, by="user_1"), stream
    )
    await auth.verifier.load()
    principal = auth.admit(f"Bearer {secret}", "submit_task")
    assert (principal.credential, principal.role) == (ServiceAccountKey("key_1"), None)
    with pytest.raises(ScopeMissing):
        auth.admit(f"Bearer {secret}", "get_bill")
    with pytest.raises(RoleMissing, match="service account"):
        auth.admit(f"Bearer {secret}", "delete_org")
    with pytest.raises(PersonRequired):
        auth.verifier.admit_person(Presented(authorization=f"Bearer {secret}"), "create_org")
    await auth.append(ServiceAccountRemoved(org="org_acme", service_account="sa_1", by="user_1"), stream)
    await auth.verifier.load()
    with pytest.raises(Unauthenticated):
        auth.who(f"Bearer {secret}")


async def test_a_key_of_a_person_who_is_no_member_is_good_for_nothing() -> None:
    auth = Auth()
    secret = await auth.issue("key_1")
    await auth.verifier.load()
    with pytest.raises(OrgNotFound):
        auth.admit(f"Bearer {secret}", "submit_task")


def test_reading_is_part_of_writing_and_not_the_other_way_round() -> None:
    assert allows(("tasks",), "tasks:read")
    assert not allows(("tasks:read",), "tasks")
    assert not allows((), "tasks:read")
    assert all(allows(ALL_SCOPES, scope) for scope in SCOPES)


async def test_no_other_credential_is_accepted() -> None:
    auth = Auth()
    secret = await auth.issue("key_1")
    expired = await auth.issue("key_2", NOW - timedelta(seconds=1))
    revoked = await auth.issue("key_3")
    await auth.say(ApiKeyRevoked(key="key_3", org="org_acme", reason="lost"), "key_3")
    await auth.verifier.load()
    for header in (
        None, "", "Bearer", "Bearer ", f"Basic {secret}", secret, "Bearer nonsense",
        f"Bearer {credential_secrets.generate()}", f"Bearer {expired}", f"Bearer {revoked}",
    ):  # fmt: skip
        with pytest.raises(Unauthenticated):
            auth.who(header)


def unreadable(type: str, version: int, key: str) -> RecordedEvent:
    """What the log has of a key, and nobody here can make out."""
    stream = stream_id("auth", "org_acme", "key", key)
    return RecordedEvent(1, stream, new_event_id(), type, version, timestamp(NOW), b"{}", REGISTRY)


@pytest.mark.parametrize("version", [1, 99], ids=["damaged", "of a newer release"])
async def test_a_key_is_good_no_more_when_its_revocation_can_not_be_read(version: int) -> None:
    auth = Auth()
    revoked, other = await auth.issue("key_1"), await auth.issue("key_2")
    await auth.verifier.load()
    auth.verifier.fold([unreadable("ApiKeyRevoked", version, "key_1")])
    assert auth.who(f"Bearer {other}").credential.id == "key_2"
    with pytest.raises(Unauthenticated):
        auth.who(f"Bearer {revoked}")


@pytest.mark.parametrize("type", ["ApiKeyIssued", "ApiKeyRotated"], ids=["damaged", "of a newer release"])
async def test_what_can_not_be_read_of_one_key_holds_up_no_other(type: str) -> None:
    auth = Auth()
    secret = await auth.issue("key_1")
    auth.verifier.fold([unreadable(type, 1, "key_2")])
    await auth.verifier.load()
    assert auth.who(f"Bearer {secret}").credential.id == "key_1"
