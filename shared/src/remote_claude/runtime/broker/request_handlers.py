"""Answers requests of other services on core NATS, as FastStream handlers over the connection that the process has.

FastStream validates the message, encodes the answer and describes both in the AsyncAPI document. Its telemetry
middleware stays out (ADR 0007).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from remote_claude.contracts.requests import Request

if TYPE_CHECKING:
    from faststream.nats import NatsBroker
    from nats.aio.client import Client

AT_ONE_TIME = 100
"""Requests that are answered side by side: one that has to wait delays no other."""

Handle = Callable[[Any], Awaitable[Any]]
"""From a request's message to its answer; None leaves it to another process."""


async def answer_requests(client: Client, handlers: Mapping[Request, Handle]) -> None:
    """Answer until cancelled."""
    faststream = await asyncio.to_thread(
        import_module, "faststream.nats"
    )  # a third of a second: not at start
    broker: NatsBroker = _sharing(faststream.NatsBroker, client)
    for request, handle in handlers.items():
        register(broker, request, handle)
    await broker.start()
    try:
        await asyncio.Event().wait()
    finally:
        await broker.stop()


def register(broker: NatsBroker, request: Request, handle: Handle) -> None:
    """Make `handle` the broker's handler of a request."""
    from faststream.exceptions import RejectMessage

    async def answer(body: Any) -> Any:
        found = await handle(body)
        if found is None:
            raise RejectMessage  # which sends nothing
        return found

    answer.__annotations__ = {"body": request.body, "return": request.answer}
    broker.subscriber(
        request.subject,
        title=request.body.__name__,
        description=request.body.__doc__,
        max_workers=AT_ONE_TIME,
    )(answer)


def _sharing(base: type[NatsBroker], client: Client) -> NatsBroker:
    """A broker on a connection that is not its own: it neither opens nor closes it."""

    class SharingBroker(base):  # type: ignore[valid-type,misc]  # imported when it is needed
        async def _connect(self) -> Client:
            self.config.connect(client)
            return client

        async def stop(self, *error: Any) -> None:
            self._connection = None
            await super().stop(*error)

    broker: NatsBroker = SharingBroker(logger=logging.getLogger(__name__), log_level=logging.DEBUG)
    return broker
