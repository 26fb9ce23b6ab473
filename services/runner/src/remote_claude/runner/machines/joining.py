"""The machine's side: it dials the gateway, runs the sandboxes that it is asked for, and carries their workers' connections.

It needs an API key with the scope `runners`. Workers see a unix socket and no network; each of their connections is carried to
the gateway, where the worker proves itself by its token as from anywhere else.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import OrderedDict
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, unix_serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from remote_claude.concurrency.tasks import end, first_of
from remote_claude.runner import unix_sockets
from remote_claude.runner.machines.protocol import (
    MAX_MESSAGE,
    Drain,
    MachineAnswer,
    MachineCall,
    MachineHello,
    Welcome,
)
from remote_claude.runner.providers.base import ComputeProvider, LaunchSpec, ProviderError, UnixSocket
from remote_claude.worker.protocol import messages as worker_protocol

log = structlog.get_logger(__name__)

JOIN = "/v1/runners/join"
REFUSED = {4401, 4403, 4404, 4400}
"""Closing codes after which another try would be refused too."""
PAUSES = (0.5, 1, 2, 5, 10)
REMEMBERED = 1000
MAX_CARRIED = 1024
"""Connections of workers at one time."""


class NotJoined(Exception):
    """The server refuses this machine, or its key."""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """`url` is `ws://` or `wss://HOST`; `key` an API key of the organisation with the scope `runners`."""

    url: str
    key: str


class JoinedMachine:
    """One machine from `run` to its end. `drain` lets it leave once nothing runs on it."""

    def __init__(self, server: ServerAddress, hello: MachineHello, provider: ComputeProvider) -> None:
        self._server, self._hello, self._provider = server, hello, provider
        self._connection: ClientConnection | None = None
        self._service = self._path = ""
        self._answers: OrderedDict[int, asyncio.Task[MachineAnswer]] = OrderedDict()
        self._sending: set[asyncio.Task[None]] = set()
        self._draining = False
        self._carried = 0
        self._socket = Path()

    async def run(self) -> None:
        """Until it has drained. Raises `NotJoined`, and `ProviderError` where no sandbox can be started here."""
        await self._provider.recover()
        await self._provider.check()
        place = Path(tempfile.mkdtemp(prefix="rclaude-"))
        self._socket = place / "runner.sock"
        try:
            async with unix_serve(
                self._carry,
                unix_sockets.prepare(self._socket),
                compression=None,
                ping_interval=None,
                max_size=worker_protocol.MAX_MESSAGE,
                max_queue=4,
                server_header=None,
            ):
                unix_sockets.open_to_sandbox(self._socket)
                await self._stay()
        finally:
            await end(*self._sending, *self._answers.values())
            await self._provider.close()
            shutil.rmtree(place, ignore_errors=True)

    async def drain(self) -> None:
        """Take no more work; `run` returns once nothing runs here."""
        self._draining = True
        if self._connection is not None:
            with suppress(ConnectionClosed):
                await self._connection.send(Drain().model_dump_json())

    async def _stay(self) -> None:
        failures = 0
        while True:
            try:
                async with connect(
                    self._server.url + JOIN,
                    additional_headers={"Authorization": f"Bearer {self._server.key}"},
                    max_size=MAX_MESSAGE,
                    open_timeout=15,
                    user_agent_header=None,
                ) as connection:
                    await connection.send(self._hello.model_dump_json())
                    await self._welcome(Welcome.model_validate_json(await connection.recv()))
                    failures, self._connection = 0, connection
                    if self._draining:
                        await self.drain()
                    while True:
                        self._take(MachineCall.model_validate_json(await connection.recv()))
            except ConnectionClosed as closed:
                code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")
                if code in REFUSED:
                    raise NotJoined(f"the server refuses this machine ({code}): {reason}") from closed
                if self._draining and code == 1000:
                    return
                log.warning("the connection to the server is lost", code=code, reason=reason)
            except (OSError, InvalidHandshake, TimeoutError) as error:
                log.warning("the server can't be reached", detail=str(error))
            except ValidationError as error:
                raise NotJoined(
                    f"the server sent a message that this release does not know: {error}"
                ) from error
            finally:
                self._connection = None
            await asyncio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
            failures += 1

    async def _welcome(self, welcome: Welcome) -> None:
        """Sandboxes that were started for another service are ended: it has forgotten them."""
        if self._service and welcome.service != self._service:
            await end(*self._answers.values())
            self._answers.clear()
            for instance in await self._provider.list():
                await self._provider.terminate(instance.name)
        if not self._service:
            log.info("joined", runner=welcome.runner)
        self._service, self._path = welcome.service, welcome.path

    def _take(self, call: MachineCall) -> None:
        """Do it once, however often it is asked for."""
        if call.number not in self._answers:
            self._answers[call.number] = asyncio.create_task(self._answer(call))
            for number in [n for n, done in self._answers.items() if done.done()][:-REMEMBERED]:
                del self._answers[number]
        sending = asyncio.create_task(self._send(self._answers[call.number]))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def _send(self, answering: asyncio.Task[MachineAnswer]) -> None:
        answer = await asyncio.shield(answering)
        if self._connection is not None:
            with suppress(ConnectionClosed):
                await self._connection.send(answer.model_dump_json())

    async def _answer(self, call: MachineCall) -> MachineAnswer:
        try:
            return MachineAnswer(number=call.number, result=await self._do(call))
        except ProviderError as error:
            return MachineAnswer(number=call.number, code=error.code, detail=str(error))
        except (ValueError, TypeError) as error:
            return MachineAnswer(
                number=call.number, code="sandbox_failed", detail=f"it can't be launched: {error}"
            )

    async def _do(self, call: MachineCall) -> Any:
        provider = self._provider
        match call.operation:
            case "check":
                return None  # this machine did so before it dialled
            case "recover":
                return await provider.recover()
            case "launch":
                return await self._launch(call)
            case "wait":
                return asdict(await provider.wait(call.name))
            case "measure":
                return asdict(await provider.measure(call.name))
            case "terminate":
                return await provider.terminate(call.name)
            case "list":
                return [asdict(instance) for instance in await provider.list()]

    async def _launch(self, call: MachineCall) -> str:
        if call.launch is None:
            raise ValueError("nothing is named")
        limits = call.launch.to_limits()
        spec = LaunchSpec(
            name=call.name,
            limits=limits,
            transport=UnixSocket(self._socket),
            env=call.launch.env,
            labels=call.launch.labels,
        )
        return (await self._provider.launch(spec)).handle

    async def _carry(self, worker: ServerConnection) -> None:
        """One connection of a worker to the gateway, until one end closes it."""
        if self._carried >= MAX_CARRIED:
            await worker.close(1013, "too many connections")
            return
        self._carried += 1
        try:
            async with connect(
                self._server.url + self._path,
                compression=None,
                ping_interval=None,
                max_size=worker_protocol.MAX_MESSAGE,
                user_agent_header=None,
            ) as gateway:
                await first_of(_copy(worker, gateway), _copy(gateway, worker))
        except (OSError, InvalidHandshake, TimeoutError):
            return  # the worker dials again
        finally:
            self._carried -= 1


async def _copy(
    source: ClientConnection | ServerConnection, target: ClientConnection | ServerConnection
) -> None:
    """Messages one way; at the end the closing code too, which says whether to dial again."""
    try:
        async for message in source:
            await target.send(message)
    except ConnectionClosed:
        pass
    code = source.close_code or 1001
    await target.close(code if code not in (1005, 1006) else 1001, source.close_reason or "")
