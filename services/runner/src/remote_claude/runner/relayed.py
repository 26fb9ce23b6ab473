"""The stack's side of a relay: it dials the relay, and takes the connections of workers that meet it there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from remote_claude.concurrency.tasks import end
from remote_claude.runner.sessions import WorkerListener
from remote_claude.runner.sessions.channel import SocketChannel
from remote_claude.worker.protocol import messages as worker_protocol
from remote_claude.worker.protocol.messages import Close
from remote_claude.worker.relay import STACK, WORKERS

log = structlog.get_logger(__name__)

PAUSES = (0.5, 1, 2, 5, 10)


class RelayedWorkers:
    """`run` stays connected until it is cancelled. `listener_of` finds the listener of a runner."""

    def __init__(self, url: str, token: str, listener_of: Callable[[str], WorkerListener | None]) -> None:
        self._url, self._token, self._listener_of = url.rstrip("/"), token, listener_of
        self._carried: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Dial, and dial again after each loss."""
        failures = 0
        try:
            while True:
                try:
                    async with self._dial(STACK) as relay:
                        log.info("connected to the relay")
                        failures = 0
                        async for message in relay:
                            self._take(json.loads(message))
                    log.warning("the relay has closed the connection", code=relay.close_code)
                except InvalidStatus as refused:
                    log.error("the relay refuses this stack", status=refused.response.status_code)
                except (OSError, InvalidHandshake, ConnectionClosed, TimeoutError) as error:
                    log.warning("the relay can't be reached", detail=str(error))
                await asyncio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
                failures += 1
        finally:
            await end(*self._carried)

    def _take(self, asked: dict[str, str]) -> None:
        task = asyncio.create_task(self._carry(asked["number"], asked["path"].removeprefix(WORKERS)))
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)

    async def _carry(self, number: str, runner: str) -> None:
        try:
            async with self._dial(f"{STACK}/{number}") as worker:
                listener = self._listener_of(runner)
                if listener is None:
                    await worker.close(Close.UNKNOWN_RUNNER, "there is no such runner here")
                else:
                    await listener.serve(SocketChannel(worker))
        except (OSError, InvalidHandshake, TimeoutError) as error:
            log.warning("a worker at the relay can't be taken", detail=str(error))

    def _dial(self, path: str) -> connect:
        return connect(
            self._url + path,
            additional_headers={"Authorization": f"Bearer {self._token}"},
            compression=None,
            max_size=worker_protocol.MAX_MESSAGE,
            user_agent_header=None,
        )
