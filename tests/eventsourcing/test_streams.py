"""The streams are made as they have to be, and what is there already is never changed."""

from dataclasses import replace
from typing import Any

import pytest
from nats.js.api import DiscardPolicy, PersistMode, StorageType

from event_logs import connect
from remote_claude.access.keyring import Keyring
from remote_claude.eventsourcing.jetstream.streams import (
    EVENTS,
    KEYS,
    OUTPUT,
    KeysLost,
    StreamMismatch,
    ensure_bucket,
    ensure_stream,
    ensure_streams,
    events_config,
    keys,
)
from servers import Broker


async def test_the_streams_are_made_once_and_as_specified(fresh_nats: Broker) -> None:
    client = await connect(fresh_nats)
    for _ in range(2):
        await ensure_streams(client, output_max_age=3600.0, output_max_bytes=10_000_000)
    js = client.jetstream()
    events = (await js.stream_info(EVENTS)).config
    assert (events.subjects, events.storage, events.discard) == (
        ["ev.>"],
        StorageType.FILE,
        DiscardPolicy.NEW,
    )
    assert events.deny_delete
    assert events.deny_purge
    assert events.allow_direct
    assert events.allow_atomic
    assert not events.max_age
    assert (events.max_msgs, events.max_bytes, events.max_msgs_per_subject) == (-1, -1, -1)
    output = (await js.stream_info(OUTPUT)).config
    assert (output.subjects, output.max_age, output.max_bytes) == (["out.>"], 3600, 10_000_000)
    assert output.persist_mode != PersistMode.ASYNC
    assert (await js.stream_info(f"KV_{KEYS}")).config.max_msgs_per_subject == 2
    await client.close()


async def test_lost_keys_are_not_made_again_beside_a_log_that_they_sealed(fresh_nats: Broker) -> None:
    client = await connect(fresh_nats)
    js = client.jetstream()
    await ensure_streams(client)
    await js.delete_stream(f"KV_{KEYS}")
    await ensure_streams(client)  # nothing has been said yet
    await js.publish("ev.auth._.key.1", b"{}")
    await ensure_streams(client)
    await js.delete_stream(f"KV_{KEYS}")
    with pytest.raises(KeysLost, match="--new-keys"):
        await ensure_streams(client)
    await ensure_streams(client, new_keys=True)
    await ensure_streams(client)
    await client.close()


async def test_an_empty_bucket_beside_a_log_that_used_keys_is_lost_keys_too(fresh_nats: Broker) -> None:
    client = await connect(fresh_nats)
    js = client.jetstream()
    await ensure_streams(client)
    await js.publish("ev.auth.org_1.key.1", b"{}")
    await ensure_streams(client)  # nobody has used a key yet
    await js.publish("ev.users._.user.user_1", b"{}")
    with pytest.raises(KeysLost, match="--new-keys"):
        await ensure_streams(client)
    await ensure_streams(client, new_keys=True)
    await ensure_streams(client)  # that they are lost is known
    await client.close()


async def test_keys_that_were_all_erased_are_not_lost(fresh_nats: Broker) -> None:
    client = await connect(fresh_nats)
    await ensure_streams(client)
    keyring = Keyring(keys(client), b"k" * 32)
    await keyring.create("user_1")
    await client.jetstream().publish("ev.users._.user.user_1", b"{}")
    await keyring.erase("user_1")
    await ensure_streams(client)
    await client.close()


async def test_a_stream_that_would_lose_events_is_refused(fresh_nats: Broker) -> None:
    client = await connect(fresh_nats)
    changes: list[dict[str, Any]] = [
        {"max_msgs": 10},
        {"max_age": 60.0},
        {"discard": DiscardPolicy.OLD},
        {"deny_purge": False},
        {"allow_atomic": False},
        {"storage": StorageType.MEMORY},
    ]
    for number, change in enumerate(changes):
        wanted = events_config(f"E{number}", f"e{number}")
        await client.jetstream().add_stream(replace(wanted, **change))
        with pytest.raises(StreamMismatch, match=next(iter(change))):
            await ensure_stream(client, wanted)
    await client.close()


async def test_a_bucket_that_keeps_what_was_deleted_is_refused(fresh_nats: Broker) -> None:
    client = await connect(fresh_nats)
    await client.jetstream().create_key_value(bucket="OLD", history=5)
    with pytest.raises(StreamMismatch, match="forget"):
        await ensure_bucket(client, "OLD")
    await client.close()
