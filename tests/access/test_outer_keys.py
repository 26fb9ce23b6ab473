"""Key-encryption keys: of a file, the environment or AWS KMS; a rotation rewrites no event."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import boto3
import nats
import pytest

from aws_emulator import aws
from remote_claude.access.kek import KeySource, KeyUnusable
from remote_claude.access.keyring import Keyring
from remote_claude.eventsourcing.jetstream.streams import ensure_streams, keys
from servers import Broker


@pytest.fixture
async def bucket(fresh_nats: Broker) -> AsyncIterator[nats.js.kv.KeyValue]:
    client = await nats.connect(**fresh_nats.options)
    await ensure_streams(client)
    yield keys(client)
    await client.close()


async def test_a_rotation_opens_what_was_sealed_before_in_every_process(
    bucket: nats.js.kv.KeyValue, tmp_path: Path
) -> None:
    source = KeySource(tmp_path / "kek")
    source.add()
    first = source.load()
    now = [0.0]
    running = Keyring(bucket, source.load, lambda: now[0])
    sealed = (await running.create("user_1")).seal("Ada", "user_1/name")
    await running.create("user_2")
    await running.erase("user_2")

    source.add()
    assert await Keyring(bucket, source.load).rewrap() == 1
    newest = KeySource(None, urlsafe_b64encode(source.load()[0]).decode())
    assert await Keyring(bucket, newest.load).open(sealed, "user_1/name") == "Ada", (
        "the old one is not needed"
    )
    with pytest.raises(KeyUnusable):
        await Keyring(bucket, first[0]).get("user_1")
    now[0] = 60.0
    assert await running.open(sealed, "user_1/name") == "Ada", "it reads the file again"
    assert (source.keep_newest(), source.keep_newest()) == (1, 0)
    assert await Keyring(bucket, source.load).open(sealed, "user_1/name") == "Ada", "the old one is retired"
    assert first[0] not in source.load()


def test_aws_kms_keeps_the_key_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with aws({}) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        key = boto3.client("kms").create_key()["KeyMetadata"]["KeyId"]
        source = KeySource(tmp_path / "kek", service=f"aws:{key}")
        source.add()
        source.add()
        newest, older = source.load()
        assert len(newest) == len(older) == 32
        written = [urlsafe_b64decode(line) for line in (tmp_path / "kek").read_text().split()]
        assert not {newest, older} & set(written)
        assert not any(newest in box or older in box for box in written)
        (tmp_path / "kek").write_text(urlsafe_b64encode(b"not of this service").decode())
        with pytest.raises(KeyUnusable, match="AWS KMS does not decrypt"):
            source.load()
