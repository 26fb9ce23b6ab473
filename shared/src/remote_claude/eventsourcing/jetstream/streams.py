"""The streams that the product keeps on the broker. Made with the administration credential, at first start."""

from __future__ import annotations

import contextlib
from typing import Any

from nats.aio.client import Client
from nats.js.api import (
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
)
from nats.js.errors import APIError, KeyNotFoundError, NotFoundError
from nats.js.kv import KeyValue

from remote_claude.eventsourcing.jetstream.direct_get import NO_MESSAGE
from remote_claude.eventsourcing.jetstream.nats_client import Wire
from remote_claude.eventsourcing.log import EventLogError, NotPermitted

EVENTS = "EVENTS"
OUTPUT = "OUTPUT"
KEYS = "KEYS"
LOST = "lost"
"""An entry of the bucket, erased from the start, where all keys before it were lost: later ones may bear their names."""
HISTORY = 2
"""Values that the bucket keeps of a key: the one that is replaced is there until it has been overwritten."""
WEEK = 7 * 24 * 3600.0
OLDEST_SERVER = (2, 12)
NAME_IN_USE = 10058
NO_STREAM = 10059


class StreamMismatch(EventLogError):
    """A stream of this name exists and is configured otherwise; nothing was changed."""

    code = "stream_mismatch"


class TrimInterrupted(StreamMismatch):
    """The log still has the limit by which a trim drops its beginning."""

    code = "trim_interrupted"


class StreamsMissing(EventLogError):
    """The broker has no log yet, and this process may not make one."""

    code = "streams_missing"


class KeysLost(EventLogError):
    """There is a log, and the data keys that seal its texts are gone, or their bucket is."""

    code = "keys_lost"


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
    """Agents' output: not facts, so the oldest goes first. Synced like the log all the same: with `persist_mode: async`
    a killed broker forgets what it has acknowledged, and the writers of output, which count on it, are fenced off."""
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
    )


async def ensure_stream(client: Client, wanted: StreamConfig) -> None:
    """Create the stream, or check that the one there has this configuration; raises `StreamMismatch`.

    The number of replicas is not compared: an operator may have raised it.
    """
    name = wanted.name or ""
    found = await _config(client, name)
    if found is None:
        try:
            adding = client.jetstream().add_stream(wanted)
            await Wire.over(client).permitted(f"$JS.API.STREAM.CREATE.{name}", adding)
            return
        except APIError as error:
            if error.err_code != NAME_IN_USE:
                raise
        found = await _config(client, name)  # somebody else has just made it
        assert found is not None
    _compare(found, wanted)


def _compare(found: StreamConfig, wanted: StreamConfig) -> None:
    have, want = _comparable(found), _comparable(wanted)
    differences = {
        name: f"{name} is {have[name]!r}, not {want[name]!r}" for name in want if have[name] != want[name]
    }
    if differences.keys() == {"discard", "max_msgs"}:
        raise TrimInterrupted(
            f"stream {wanted.name} has a limit, as a `rclaude-admin log trim` that was interrupted leaves it. "
            "Stop every service, take it away with `rclaude-admin log restore`, and start again."
        )
    if differences:
        raise StreamMismatch(
            f"stream {wanted.name} exists and differs: {', '.join(differences.values())}. Use another broker or stream name, "
            f"or let an administrator update the stream after a backup."
        )


async def _config(client: Client, name: str) -> StreamConfig | None:
    answer = await Wire.over(client).api(f"STREAM.INFO.{name}")
    if (error := answer.get("error")) is None:
        config: StreamConfig = StreamInfo.from_response(answer).config
        return config
    if error.get("err_code") == NO_STREAM:
        return None
    raise EventLogError(f"JetStream says of stream {name}: {error}")


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
    """A key-value bucket that forgets what is overwritten or deleted: see `ForgettingBucket`."""
    found = await _config(client, f"KV_{name}")
    if found is None:
        config = StreamConfig(
            name=f"KV_{name}",
            subjects=[f"$KV.{name}.>"],
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            max_msgs_per_subject=HISTORY,
            num_replicas=replicas,
            allow_rollup_hdrs=True,
            deny_delete=False,  # nats-py's buckets deny it: `ForgettingBucket` overwrites what it purges
        )
        await client.jetstream().add_stream(config)
    elif found.max_msgs_per_subject == 1:  # of an older release
        await client.jetstream().update_stream(found, max_msgs_per_subject=HISTORY)
    elif found.max_msgs_per_subject != HISTORY:
        raise StreamMismatch(
            f"bucket {name} keeps {found.max_msgs_per_subject} values of a key: it can't forget one"
        )


async def ensure_streams(
    client: Client,
    *,
    replicas: int = 1,
    output_max_age: float = WEEK,
    output_max_bytes: int = -1,
    new_keys: bool = False,
) -> None:
    """EVENTS, OUTPUT and the bucket KEYS, made where they are missing and checked where they are not.

    `output_max_age` in seconds, `output_max_bytes` -1 for no limit. With `new_keys` an empty bucket is made beside a
    log that has lost its own. Raises `KeysLost`, `StreamMismatch`, `ServerTooOld`.
    """
    _check_version(client)
    try:
        await check_keys(client)
    except KeysLost:
        if not new_keys:
            raise
    else:
        new_keys = False
    await ensure_log_streams(
        client, replicas=replicas, output_max_age=output_max_age, output_max_bytes=output_max_bytes
    )
    await ensure_bucket(client, KEYS, replicas=replicas)
    if new_keys:
        await keys(client).purge(LOST)


async def check_keys(client: Client) -> None:
    """Raises `KeysLost` where there are events and no bucket, or events of the users service and no key ever in the bucket.

    An erased key leaves its trace there. A trimmed log is taken to have had such events. The bucket is looked at last: a key
    is made before what says whose it is.
    """
    wire = Wire.over(client)
    log = await wire.api(f"STREAM.INFO.{EVENTS}")
    if "error" in log or not log["state"]["messages"]:
        return
    users = await wire.api(f"STREAM.MSG.GET.{EVENTS}", {"seq": 1, "next_by_subj": "ev.users.>"})
    used = log["state"]["first_seq"] > 1 or "error" not in users
    wanted = {"seq": 1, "next_by_subj": f"$KV.{KEYS}.>"}
    found = (await wire.api(f"STREAM.MSG.GET.KV_{KEYS}", wanted)).get("error", {}).get("err_code")
    if found != NO_STREAM and not (used and found == NO_MESSAGE):
        return
    there = f"no bucket {KEYS}" if found == NO_STREAM else f"nothing in the bucket {KEYS}"
    raise KeysLost(
        f"the broker has a log and {there}: without the data keys nobody reads a prompt of it. Put it back "
        "from a backup (docs/guides/backup.md). If there is none: `rclaude-admin broker init --new-keys` makes an "
        "empty one, and what is sealed stays sealed for ever"
    )


async def ensure_log_streams(
    client: Client, *, replicas: int = 1, output_max_age: float = WEEK, output_max_bytes: int = -1
) -> None:
    """The same for EVENTS and OUTPUT alone."""
    _check_version(client)
    output = output_config(replicas=replicas, max_age=output_max_age, max_bytes=output_max_bytes)
    await ensure_stream(client, events_config(replicas=replicas))
    await ensure_stream(client, output)


async def ensure_log(client: Client, *, replicas: int = 1) -> None:
    """What a service does at its start: check the log, and make the streams if there are none and it may.

    Raises `StreamsMissing` where it may not, `StreamMismatch`, `ServerTooOld`.
    """
    _check_version(client)
    found = await _config(client, EVENTS)
    if found is not None:
        _compare(found, events_config())
        return
    try:
        await ensure_streams(client, replicas=replicas)
    except NotPermitted as error:
        raise StreamsMissing(
            f"the broker has no stream {EVENTS}, and this credential may not make it: "
            "run `rclaude-admin broker init` with the administrator's"
        ) from error


async def may_append(client: Client, subject: str) -> bool:
    """Whether the broker lets this credential append to a subject. Asked by an append whose guard can't hold."""
    guard = {"Nats-Expected-Last-Subject-Sequence": str(2**63 - 1)}
    try:
        await Wire.over(client).permitted(subject, client.request(subject, b"", timeout=5, headers=guard))
    except NotPermitted:
        return False
    return True


def keys(client: Client) -> KeyValue:
    """The bucket of data keys, whether or not there is one."""
    return ForgettingBucket(KEYS, f"KV_{KEYS}", f"$KV.{KEYS}.", client.jetstream(), direct=False)


class ForgettingBucket(KeyValue):
    """A bucket that leaves nothing of an old value in the broker's files, nor in copies that are made of them later.

    The broker only forgets where a value is that it drops itself. So its history keeps the one before for the moment that it
    takes to overwrite it.
    """

    async def update(
        self, key: str, value: bytes, last: int | None = None, validate_keys: bool = True
    ) -> int:
        """Put a value in the place of revision `last`, then overwrite that one. Interrupted, the next call finishes it."""
        await self._overwrite(key, last or 0)
        revision = await super().update(key, value, last, validate_keys)
        await self._overwrite(key, revision)
        return revision

    async def purge(self, key: str, *args: Any, **options: Any) -> bool:
        """Overwrite every value of a key, then leave its mark."""
        with contextlib.suppress(KeyNotFoundError):
            revision = (await self.get(key)).revision or 0
            await self._overwrite(key, revision + 1)
        return await super().purge(key, *args, **options)

    async def _overwrite(self, key: str, before: int) -> None:
        """Overwrite the values of a key whose revisions are below `before`."""
        while (found := await self._first(key)) is not None and found < before:
            try:
                await self._js.delete_msg(self._stream, found)
            except APIError:
                if await self._first(key) == found:  # otherwise another process overwrites it too
                    raise

    async def _first(self, key: str) -> int | None:
        """The oldest revision of a key that the broker has."""
        try:
            return (await self._js.get_msg(self._stream, 1, f"{self._pre}{key}", next=True)).seq
        except NotFoundError:
            return None


def _check_version(client: Client) -> None:
    version = client.connected_server_version
    if (version.major, version.minor) < OLDEST_SERVER:
        raise ServerTooOld(
            f"this broker is nats-server {version.major}.{version.minor}; 2.12 or newer is needed"
        )
