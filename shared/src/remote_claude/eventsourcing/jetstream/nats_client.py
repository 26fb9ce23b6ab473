"""What the event log needs of a connection to the broker, over nats-py's public API.

`Wire.over(client)` gives the one of a connection. As a rule that is `FastWire` (`fast_connection.py`), which uses
private members of nats-py to spend less on each message. Where these are missing, or `RCLAUDE_NATS_PLAIN` is set, it
is this one: slower, with the same results. A lost connection is then noticed within `POLL` seconds.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from remote_claude.concurrency.tasks import first_of
from remote_claude.eventsourcing.log import LogUnavailable, NotPermitted
from remote_claude.eventsourcing.message_frames import header_block, published, status

if TYPE_CHECKING:
    from remote_claude.eventsourcing.jetstream.fast_connection import FastWire

T = TypeVar("T")

POLL = 0.05
"""Seconds between two looks at whether the connection is there."""

Handler = Callable[[bytes, bytes, bytes, bytes], None]
"""Called with subject, reply subject, header block and payload, in the reading task: quick, and never raising."""

ReplyHandler = Callable[[bytes, bytes], None]
"""Called with the header block and payload of a reply."""


class Wire:
    """What the event log does on one connection. `Wire.over(client)` gives the one of that connection."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._replies: dict[bytes, ReplyHandler] = {}
        self._inbox = client.new_inbox()
        self._inbox_length = len(self._inbox) + 1
        self._opening: asyncio.Task[None] | None = None
        self._token = 0
        self.deniers: list[Callable[[str], None]] = []
        """Get the subjects to which this connection tries to publish and may not, in lower case."""
        client.wire = self  # type: ignore[attr-defined]  # one for each connection

    @classmethod
    def over(cls, client: Client) -> Wire:
        """The one of this connection, made at the first call."""
        wire: Wire | None = getattr(client, "wire", None)
        if wire is not None:
            return wire
        return (fast_wire(client) or Wire)(client)

    @property
    def connected(self) -> bool:
        return bool(self.client.is_connected)

    @property
    def epoch(self) -> int:
        """Another number after each reconnection. Requests from before it get no answer."""
        return int(self.client.stats["reconnects"])

    async def send(self, frames: bytes) -> None:
        """Write frames of `publish_frame`, in order."""
        with named():
            for subject, reply, headers, data in published(frames):
                await self.client.publish(subject, data, reply=reply, headers=headers)

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        with named():
            await self.client.publish(subject, payload, reply=reply)

    async def listen(self, handler: Handler) -> Listener:
        """Receive on a new inbox, raw."""
        inbox = self.client.new_inbox()
        return Listener(self, inbox, await self.subscribe(inbox, handler))

    async def subscribe(self, subject: str, handler: Handler) -> Subscription:
        """Call `handler` with each message: subject, reply subject, header block, payload."""

        async def receive(message: Msg) -> None:
            block = header_block(message.headers)
            handler(message.subject.encode(), message.reply.encode(), block, message.data)

        with named():
            return await self.client.subscribe(subject, cb=receive)

    async def unsubscribe(self, subscription: Subscription) -> None:
        if not (self.client.is_closed or self.client.is_draining):
            with named():
                await subscription.unsubscribe()

    async def open(self) -> None:
        """Subscribe to replies, once."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
        if self._opening.done():
            self._opening.result()
        else:
            await asyncio.shield(self._opening)

    async def _open(self) -> None:
        try:
            await self.subscribe(self._inbox + ".*", self._reply)
        except BaseException:
            self._opening = None
            raise

    def _reply(self, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        handler = self._replies.get(subject[self._inbox_length :])
        if handler is not None:
            handler(headers, data)

    def expect(self, handler: ReplyHandler) -> str:
        """A reply subject, whose replies `handler` gets until it is forgotten."""
        self._token += 1
        token = b"%d" % self._token
        self._replies[token] = handler
        return f"{self._inbox}.{self._token}"

    def forget(self, reply: str) -> None:
        self._replies.pop(reply[self._inbox_length :].encode(), None)

    @contextmanager
    def denials(self, denier: Callable[[str], None]) -> Iterator[None]:
        """`denier` is one of the `deniers` meanwhile."""
        self.deniers.append(denier)
        try:
            yield
        finally:
            self.deniers.remove(denier)

    async def permitted(self, subject: str, work: Coroutine[Any, Any, T]) -> T:
        """What comes of a call to nats-py that publishes to `subject`; `NotPermitted` as soon as the broker says so."""
        refusal: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        with self.denials(lambda to: resolve(refusal, True) if to == subject.lower() else None):
            done, _ = await first_of(work, refusal)
        if done is None or refusal.done():
            raise NotPermitted(subject)
        result: T = done.result()
        return result

    async def gather(
        self, subject: str, payload: bytes, *, last: Callable[[bytes, bytes], bool], timeout: float
    ) -> list[tuple[bytes, bytes]]:
        """Ask, and collect the replies up to the one of which `last` is true, which is included.

        Raises `LogUnavailable` when it hasn't come in time or the connection was lost, `NotPermitted`.
        """
        if not self.connected:
            await asyncio.sleep(0)  # a caller that tries again at once lets the connection come back
            raise LogUnavailable("not connected to the broker")
        await self.open()
        replies: list[tuple[bytes, bytes]] = []
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def collect(headers: bytes, data: bytes) -> None:
            if not done.done():  # otherwise it came twice
                replies.append((headers, data))
                if last(headers, data):
                    done.set_result(True)

        refused = False

        def denied(to: str) -> None:
            nonlocal refused
            if to == subject.lower():
                refused = True
                resolve(done, False)

        reply = self.expect(collect)
        try:
            epoch = self.epoch
            with self.denials(denied):
                await self.publish(subject, payload, reply)
                answered = await self.arrives(done, epoch, timeout)
            if refused:
                raise NotPermitted(subject)
            if not answered:
                raise LogUnavailable(f"the broker gave no answer to {subject} within {timeout} s")
            return replies
        finally:
            self.forget(reply)

    async def arrives(self, done: asyncio.Future[bool], epoch: int, timeout: float) -> bool:
        """Wait for `done` under `watch`."""
        self.watch(done, epoch, timeout)
        return await done

    def watch(self, done: asyncio.Future[bool], epoch: int, timeout: float) -> None:
        """Set `done` to False after `timeout` seconds, or when the connection is lost or another one.

        Other code that sets `done` has to check first that it is not done.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout

        def check() -> None:
            if done.done():
                return
            if loop.time() >= end or not self.connected or self.epoch != epoch:
                done.set_result(False)
            else:
                loop.call_later(min(POLL, max(0.0, end - loop.time())), check)

        check()

    async def pause(self, seconds: float) -> bool:
        """Sleep, but not while disconnected and longer than until the connection is back: then True."""
        loop = asyncio.get_running_loop()
        end, lost = loop.time() + seconds, not self.connected and not self.client.is_closed
        while (left := end - loop.time()) > 0:
            if lost and self.connected:
                return True
            await asyncio.sleep(min(POLL, left) if lost else left)
        return False

    def failed(self, message: str) -> None:
        """The broker sent this error. Where it denies a publish, the `deniers` get the subject."""
        if denied := _denied(message):
            for denier in list(self.deniers):
                denier(denied[1].lower())

    async def api(
        self, subject: str, request: dict[str, Any] | None = None, *, timeout: float = 5.0
    ) -> dict[str, Any]:
        """One request to JetStream's JSON API. The answer may hold `error`; raises `LogUnavailable`."""
        payload = orjson.dumps(request) if request is not None else b""
        [(headers, data)] = await self.gather(
            f"$JS.API.{subject}", payload, last=lambda *_: True, timeout=timeout
        )
        if status(headers) == 503:
            raise LogUnavailable(
                f"JetStream does not answer {subject}: is it switched on, and its stream there?"
            )
        answer: dict[str, Any] = orjson.loads(data)
        return answer


class Listener:
    """A raw subscription to an inbox of its own."""

    def __init__(self, wire: Wire, inbox: str, subscription: Subscription) -> None:
        self.inbox = inbox
        self._wire = wire
        self._subscription = subscription

    async def close(self) -> None:
        await self._wire.unsubscribe(self._subscription)


_denied = re.compile(r"""permissions violation for publish to "([^"]+)\"""", re.IGNORECASE).search


def note_error(client: Client, error: Exception) -> None:
    """Pass on what nats-py reports to its `error_cb`; only the plain connection needs it."""
    wire = getattr(client, "wire", None)
    if wire is not None:
        wire.failed(str(error))


def fast_wire(client: Client) -> type[FastWire] | None:
    """The kind that uses private members of nats-py; None where this version of it lacks one."""
    try:
        from remote_claude.eventsourcing.jetstream.fast_connection import FastWire
    except ImportError:  # another nats-py
        return None
    return FastWire if FastWire.fits(client) else None


def resolve(future: asyncio.Future[bool], result: bool) -> None:
    """Set the result, unless there is one."""
    if not future.done():
        future.set_result(result)


@contextmanager
def named() -> Iterator[None]:
    """nats-py's errors by the log's name for them."""
    try:
        yield
    except (NatsError, OSError, RuntimeError) as error:  # uvloop writes to no closed transport
        raise LogUnavailable(f"the connection to the broker: {error!r}") from error
