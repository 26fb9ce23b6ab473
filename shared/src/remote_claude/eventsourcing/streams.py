"""The streams that the product keeps on the broker. Made with the administration credential, at first start."""

from __future__ import annotations

from typing import Any

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, KeyValueConfig, PersistMode, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from remote_claude.eventsourcing.log import EventLogError

EVENTS = "EVENTS"
OUTPUT = "OUTPUT"
KEYS = "KEYS"
WEEK = 7 * 24 * 3600.0
OLDEST_SERVER = (2, 12)
NAME_IN_USE = 10058


class StreamMismatch(EventLogError):
    """A stream of this name exists and is configured otherwise; nothing was changed."""

    code = "stream_mismatch"


class ServerTooOld(EventLogError):
    """The broker knows no atomic batches."""

    code = "server_too_old"


def events_config(name: str = EVENTS, prefix: str = "ev", replicas: int = 1) -> StreamConfig:
    """The log: kept whole. Nothing can be deleted or purged, no limit drops anything."""
    return StreamConfig(
        name=name,
        subjects=[f"{prefix}.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_msgs=-1,
        max_bytes=-1,
        max_age=0,
        max_msgs_per_subject=-1,
        num_replicas=replicas,
        deny_delete=True,
        deny_purge=True,
        allow_direct=True,
        allow_atomic=True,
    )


def output_config(
    name: str = OUTPUT, prefix: str = "out", replicas: int = 1, *, max_age: float = WEEK, max_bytes: int = -1
) -> StreamConfig:
    """Agents' output: not facts, so the oldest goes first. On a single broker it is written without fsync."""
    return StreamConfig(
        name=name,
        subjects=[f"{prefix}.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_msgs=-1,
        max_bytes=max_bytes,
        max_age=max_age,
        max_msgs_per_subject=-1,
        num_replicas=replicas,
        allow_direct=True,
        persist_mode=PersistMode.ASYNC if replicas == 1 else None,
    )


async def ensure_stream(client: Client, wanted: StreamConfig) -> None:
    """Create the stream, or check that the one there has this configuration; raises `StreamMismatch`.

    The number of replicas is not compared: an operator may have raised it.
    """
    js = client.jetstream()
    found = await _config(js, wanted.name or "")
    if found is None:
        try:
            await js.add_stream(wanted)
            return
        except APIError as error:
            if error.err_code != NAME_IN_USE:
                raise
        found = await _config(js, wanted.name or "")  # somebody else has just made it
        assert found is not None
    have, want = _comparable(found), _comparable(wanted)
    differences = [
        f"{name} is {have[name]!r}, not {want[name]!r}" for name in want if have[name] != want[name]
    ]
    if differences:
        raise StreamMismatch(
            f"stream {wanted.name} exists and differs: {', '.join(differences)}. Use another broker or stream name, "
            f"or let an administrator update the stream after a backup."
        )


async def _config(js: JetStreamContext, name: str) -> StreamConfig | None:
    try:
        return (await js.stream_info(name)).config
    except NotFoundError:
        return None


def _comparable(config: StreamConfig) -> dict[str, Any]:
    return {
        "subjects": config.subjects,
        "retention": config.retention,
        "storage": config.storage,
        "discard": config.discard,
        "max_msgs": config.max_msgs,
        "max_bytes": config.max_bytes,
        "max_age": float(config.max_age or 0),
        "max_msgs_per_subject": config.max_msgs_per_subject,
        "deny_delete": bool(config.deny_delete),
        "deny_purge": bool(config.deny_purge),
        "allow_direct": bool(config.allow_direct),
        "allow_atomic": bool(config.allow_atomic),
        "sealed": bool(config.sealed),
    }


async def ensure_bucket(client: Client, name: str, *, replicas: int = 1) -> None:
    """A key-value bucket that forgets what is overwritten or deleted: history 1."""
    js = client.jetstream()
    found = await _config(js, f"KV_{name}")
    if found is None:
        config = KeyValueConfig(bucket=name, history=1, storage=StorageType.FILE, replicas=replicas)
        await js.create_key_value(config)
    elif found.max_msgs_per_subject != 1:
        raise StreamMismatch(
            f"bucket {name} keeps {found.max_msgs_per_subject} values of a key: it can't forget one"
        )


async def ensure_streams(
    client: Client, *, replicas: int = 1, output_max_age: float = WEEK, output_max_bytes: int = -1
) -> None:
    """EVENTS, OUTPUT and the bucket KEYS, made where they are missing and checked where they are not.

    `output_max_age` in seconds, `output_max_bytes` -1 for no limit. Raises `StreamMismatch`, `ServerTooOld`.
    """
    version = client.connected_server_version
    if (version.major, version.minor) < OLDEST_SERVER:
        raise ServerTooOld(
            f"this broker is nats-server {version.major}.{version.minor}; 2.12 or newer is needed"
        )
    output = output_config(replicas=replicas, max_age=output_max_age, max_bytes=output_max_bytes)
    await ensure_stream(client, events_config(replicas=replicas))
    await ensure_stream(client, output)
    await ensure_bucket(client, KEYS, replicas=replicas)
