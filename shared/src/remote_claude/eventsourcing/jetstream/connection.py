"""Frames over a connection of nats-py, without what nats-py does to each message.

nats-py spends about 20 microseconds on a message's headers, its queue and its task, and 12 on the headers
of one that it sends; an event costs 3 each way here. Some of its private members are used for that
(`_ps`, `_send_command`, `_flush_pending`, `_pending`, `_transport`, a subscription's `_id`), and to hear at once of a lost connection and of what is not permitted
(`_disconnected_cb`, `_reconnected_cb`, `_process_err`), nowhere but in this module. Connecting, reconnecting,
authentication and subscriptions stay with nats-py.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.errors import Error as NatsError

from remote_claude.concurrency.tasks import end
from remote_claude.eventsourcing.jetstream.bulk_parser import BulkParser, Handler
from remote_claude.eventsourcing.log import LogUnavailable, NotPermitted
from remote_claude.eventsourcing.message_frames import status

T = TypeVar("T")

ReplyHandler = Callable[[bytes, bytes], None]
"""Called with the header block and payload of a reply."""


class Wire:
    """What the event log does on one connection. `Wire.over(client)` gives the one of that connection."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._handlers: dict[bytes, Handler] = {}
        self._replies: dict[bytes, ReplyHandler] = {}
        self._inbox = client.new_inbox()
        self._inbox_length = len(self._inbox) + 1
        self._opening: asyncio.Task[None] | None = None
        self._token = 0
        self._awaited: set[asyncio.Future[bool]] = set()
        self._back = asyncio.Event()
        self.deniers: list[Callable[[str], None]] = []
        """Get the subjects to which this connection tries to publish and may not, in lower case."""
        self._divert()

    @classmethod
    def over(cls, client: Client) -> Wire:
        wire: Wire | None = getattr(client, "wire", None)
        return wire or cls(client)

    def _divert(self) -> None:
        lost, back, failed = (
            self.client._disconnected_cb,
            self.client._reconnected_cb,
            self.client._process_err,
        )

        async def disconnected() -> None:
            for future in self._awaited:
                _resolve(future, False)
            if lost is not None:
                await lost()

        async def reconnected() -> None:
            self._back.set()
            if back is not None:
                await back()

        async def error(err_msg: str) -> None:
            if denied := _denied(err_msg):
                for denier in list(self.deniers):
                    denier(denied[1])
            await failed(err_msg)

        self.client.wire = self  # type: ignore[attr-defined]
        self.client._ps = BulkParser(self.client._ps, self._handlers)  # type: ignore[assignment]
        self.client._disconnected_cb = disconnected
        self.client._reconnected_cb = reconnected
        self.client._process_err = error  # type: ignore[method-assign]

    @property
    def connected(self) -> bool:
        return bool(self.client.is_connected)

    @property
    def epoch(self) -> int:
        """Another number after each reconnection. What was asked before it gets no answer any more."""
        return int(self.client.stats["reconnects"])

    async def send(self, frames: bytes) -> None:
        """Write ready-made frames, at once where nothing waits before them."""
        transport = self.client._transport
        with _named():
            # a web socket's transport writes nothing by itself
            if isinstance(transport, TcpTransport) and self.connected and not self.client._pending:
                transport.write(frames)  # type: ignore[no-untyped-call]
            else:
                await self.client._send_command(frames)
                await self.client._flush_pending()

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        with _named():
            await self.client.publish(subject, payload, reply=reply)

    async def listen(self, handler: Handler) -> Listener:
        """Receive on a new inbox, raw."""
        inbox = self.client.new_inbox()
        with _named():
            subscription = await self.client.subscribe(inbox, cb=_ignore)
        self._handlers[_key(subscription)] = handler
        return Listener(self, inbox, subscription)

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
            with _named():
                subscription = await self.client.subscribe(self._inbox + ".*", cb=_ignore)
        except BaseException:
            self._opening = None
            raise
        self._handlers[_key(subscription)] = self._reply

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
        task = asyncio.ensure_future(work)
        try:
            with self.denials(lambda to: _resolve(refusal, True) if to == subject.lower() else None):
                await asyncio.wait((task, refusal), return_when=asyncio.FIRST_COMPLETED)
            if refusal.done():
                raise NotPermitted(subject)
            return await task
        finally:
            await end(task)

    async def gather(
        self, subject: str, payload: bytes, *, last: Callable[[bytes, bytes], bool], timeout: float
    ) -> list[tuple[bytes, bytes]]:
        """Ask, and collect the replies up to the one of which `last` is true, which is included.

        Raises `LogUnavailable` when it hasn't come in time or the connection was lost, `NotPermitted`.
        """
        if not self.connected:
            await asyncio.sleep(0)  # whoever asks again and again lets the connection come back
            raise LogUnavailable("not connected to the broker")
        await self.open()
        replies: list[tuple[bytes, bytes]] = []
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def collect(headers: bytes, data: bytes) -> None:
            if not done.done():  # else it came twice
                replies.append((headers, data))
                if last(headers, data):
                    done.set_result(True)

        refused = False

        def denied(to: str) -> None:
            nonlocal refused
            if to == subject.lower():
                refused = True
                _resolve(done, False)

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
        """See that `done` is False after `timeout` seconds, or at once when the connection isn't the same any more.

        Whoever else sets it has to see first whether it is done.
        """
        if not self.connected or self.epoch != epoch:
            _resolve(done, False)
            return
        timer = asyncio.get_running_loop().call_later(timeout, _resolve, done, False)
        self._awaited.add(done)

        def unwatch(_: object) -> None:
            self._awaited.discard(done)
            timer.cancel()

        done.add_done_callback(unwatch)

    async def pause(self, seconds: float) -> bool:
        """Sleep, but not while disconnected and longer than until the connection is back: then True."""
        if self.connected or self.client.is_closed:
            await asyncio.sleep(seconds)
            return False
        self._back.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._back.wait()
        except TimeoutError:
            return False
        return True

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
        self._wire._handlers.pop(_key(self._subscription), None)
        if not (self._wire.client.is_closed or self._wire.client.is_draining):
            with _named():
                await self._subscription.unsubscribe()


_denied = re.compile(r"""permissions violation for publish to "([^"]+)\"""").search


def encrypts(client: Client) -> bool:
    """Whether the broker of a connected client asks for TLS."""
    return bool(client._server_info.get("tls_required"))


def _key(subscription: Subscription) -> bytes:
    """Its id, as the broker names it in a frame."""
    return b"%d" % subscription._id


def _resolve(future: asyncio.Future[bool], result: bool) -> None:
    if not future.done():
        future.set_result(result)


@contextmanager
def _named() -> Iterator[None]:
    """nats-py's errors by the log's name for them."""
    try:
        yield
    except (NatsError, OSError, RuntimeError) as error:  # uvloop writes to no closed transport
        raise LogUnavailable(f"the connection to the broker: {error!r}") from error


async def _ignore(message: Msg) -> None:
    """nats-py wants a callback; the frames never get that far."""
