"""A connection that leaves out most of what nats-py does to each message.

nats-py spends about 20 microseconds on a message's headers, its queue and its task, and 12 on the headers
of one that it sends; an event costs 3 each way here. Some of its private members are used for that
(`_ps`, `_send_command`, `_flush_pending`, `_pending`, `_transport`, a subscription's `_id`), and to notice at once a lost
connection and a denied publish (`_disconnected_cb`, `_reconnected_cb`, `_process_err`), and to see whether a broker encrypts (`_server_info`), nowhere but in
this module.
Connecting, reconnecting, authentication and subscriptions stay with nats-py.
"""

from __future__ import annotations

import asyncio

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport

from remote_claude.eventsourcing.jetstream.bulk_parser import BulkParser
from remote_claude.eventsourcing.jetstream.nats_client import Handler, Wire, named, resolve

PRIVATE = (
    "_ps", "_send_command", "_flush_pending", "_pending", "_transport",
    "_disconnected_cb", "_reconnected_cb", "_process_err", "_server_info",
)  # fmt: skip


class FastWire(Wire):
    """A `Wire` past nats-py's queues and parser."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._handlers: dict[bytes, Handler] = {}
        self._awaited: set[asyncio.Future[bool]] = set()
        self._back = asyncio.Event()
        self._divert()

    @staticmethod
    def encrypts(client: Client) -> bool:
        """Whether the broker of a connected client asks for TLS. The public API does not say so."""
        return bool(client._server_info.get("tls_required"))

    @classmethod
    def fits(cls, client: Client) -> bool:
        """Whether this client has the private members."""
        return all(hasattr(client, name) for name in PRIVATE)

    def _divert(self) -> None:
        lost, back, failed = (
            self.client._disconnected_cb,
            self.client._reconnected_cb,
            self.client._process_err,
        )

        async def disconnected() -> None:
            for future in self._awaited:
                resolve(future, False)
            if lost is not None:
                await lost()

        async def reconnected() -> None:
            self._back.set()
            if back is not None:
                await back()

        async def error(err_msg: str) -> None:
            self.failed(err_msg)
            await failed(err_msg)

        self.client._ps = BulkParser(self.client._ps, self._handlers)  # type: ignore[assignment]
        self.client._disconnected_cb = disconnected
        self.client._reconnected_cb = reconnected
        self.client._process_err = error  # type: ignore[method-assign]

    async def send(self, frames: bytes) -> None:
        """Write ready-made frames, at once where nothing waits before them."""
        transport = self.client._transport
        with named():
            # a web socket's transport writes nothing by itself
            if isinstance(transport, TcpTransport) and self.connected and not self.client._pending:
                transport.write(frames)  # type: ignore[no-untyped-call]
            else:
                await self.client._send_command(frames)
                await self.client._flush_pending()

    async def subscribe(self, subject: str, handler: Handler) -> Subscription:
        with named():
            subscription = await self.client.subscribe(subject, cb=_ignore)
        self._handlers[_key(subscription)] = handler
        return subscription

    async def unsubscribe(self, subscription: Subscription) -> None:
        self._handlers.pop(_key(subscription), None)
        await super().unsubscribe(subscription)

    def watch(self, done: asyncio.Future[bool], epoch: int, timeout: float) -> None:
        if not self.connected or self.epoch != epoch:
            resolve(done, False)
            return
        timer = asyncio.get_running_loop().call_later(timeout, resolve, done, False)
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


def _key(subscription: Subscription) -> bytes:
    """Its id, as the broker names it in a frame."""
    return b"%d" % subscription._id


async def _ignore(message: Msg) -> None:
    """nats-py wants a callback; the frames never get that far."""
