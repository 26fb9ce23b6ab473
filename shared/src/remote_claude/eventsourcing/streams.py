"""The streams that the product keeps on the broker. Made with the administration credential, at first start."""

from __future__ import annotations

from typing import Any

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, KeyValueConfig, PersistMode, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from remote_claude.eventsourcing.log import EventLogError

EVENTS = "EVENTS"
OUTPUT = "OUTPUT"
KEYS = "KEYS"
WEEK = 7 * 24 * 3600.0
OLDEST_SERVER = (2, 12)


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


async def ensure_stream(js: JetStreamContext, wanted: StreamConfig) -> None:
    """Create the stream, or check that the one there has this configuration; raises `StreamMismatch`.

    The number of replicas is not compared: an operator may have raised it.
    """
    assert wanted.name is not None
    try:
        found = (await js.stream_info(wanted.name)).config
    except NotFoundError:
        await js.add_stream(wanted)
        return
    differences = {
        name: (have, want)
        for name, want in _comparable(wanted).items()
        if (have := _comparable(found)[name]) != want
    }
    if differences:
        listed = ", ".join(f"{name} is {have!r}, not {want!r}" for name, (have, want) in differences.items())
        raise StreamMismatch(
            f"stream {wanted.name} exists and differs: {listed}. Use another broker or stream name, "
            f"or let an administrator update the stream after a backup."
        )


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


async def ensure_streams(
    js: JetStreamContext,
    *,
    replicas: int = 1,
    output_max_age: float = WEEK,
    output_max_bytes: int = -1,
) -> None:
    """EVENTS, OUTPUT and the bucket KEYS, made where they are missing and checked where they are not.

    `output_max_age` in seconds, `output_max_bytes` -1 for no limit. Raises `StreamMismatch`, `ServerTooOld`.
    """
    version = js._nc.connected_server_version
    if (version.major, version.minor) < OLDEST_SERVER:
        raise ServerTooOld(f"this broker is nats-server {version}; 2.12 or newer is needed")
    await ensure_stream(js, events_config(replicas=replicas))
    await ensure_stream(
        js, output_config(replicas=replicas, max_age=output_max_age, max_bytes=output_max_bytes)
    )
    await ensure_bucket(js, KEYS, replicas=replicas)


async def ensure_bucket(js: JetStreamContext, name: str, *, replicas: int = 1) -> None:
    """A key-value bucket that forgets what is overwritten or deleted: history 1."""
    try:
        found = (await js.stream_info(f"KV_{name}")).config
    except NotFoundError:
        await js.create_key_value(
            config=KeyValueConfig(bucket=name, history=1, storage=StorageType.FILE, replicas=replicas)
        )
        return
    if found.max_msgs_per_subject != 1:
        raise StreamMismatch(
            f"bucket {name} keeps {found.max_msgs_per_subject} values of a key, not 1: it could not forget"
        )
