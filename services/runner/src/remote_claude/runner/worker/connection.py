"""The worker's end of the line: it survives drops, resumes without gap or duplicate, and knows its lease."""

from __future__ import annotations

import asyncio
from pathlib import Path

from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from remote_claude.runner import protocol, wire
from remote_claude.runner.protocol import Ack, Alive, Blob, Hello, Lease, Result, Resume, Stop, Task
from remote_claude.runner.worker.outbox import Outbox

START_LEASE_S = 15.0
"""How long a worker without a task yet looks for its runner."""
GATHER_S = 0.02
REDIAL_S = (0.02, 0.1, 0.3, 1.0)


class LeaseLost(Exception):
    """Not renewed for one lease: this attempt may be somebody else's by now."""

    code = "lease_lost"


class Refused(Exception):
    """The runner hung up, and dialling again is useless."""

    code = "refused"


class RunnerConnection:
    """Speaks `protocol` with the runner behind a unix socket."""

    def __init__(self, socket: Path, token: str, scratch: Path) -> None:
        self._socket, self._token, self._scratch = socket, token, scratch
        self._session_key: str | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._failure: Exception | None = None
        """Why the runner could not be dialled the last time."""
        self._result: asyncio.Future[tuple[Result, dict[str, Path]]] = asyncio.Future()
        self.outbox = Outbox()
        self.task: asyncio.Future[tuple[Task, Path | None]] = asyncio.Future()
        """The work, and the bundle of its repository."""
        self.stop = asyncio.Event()
        self.lease: asyncio.Future[None] = asyncio.Future()
        """Never done, unless `LeaseLost`."""
        self._renew(START_LEASE_S)

    def finish(self, result: Result, files: dict[str, Path]) -> None:
        """Say what came of it, after the last frame; `run` returns when the runner has it."""
        self._result.set_result((result, files))

    async def run(self) -> None:
        """Dial, talk, dial again, until the runner has the result. Raises `Refused`."""
        failures = 0
        while True:
            talked = False
            try:
                async with unix_connect(
                    str(self._socket),
                    compression=None,
                    ping_interval=None,  # the lease says who is alive
                    max_size=protocol.MAX_MESSAGE,
                    proxy=None,
                    user_agent_header=None,
                ) as ws:
                    talked, self._failure = True, None
                    await self._talk(ws)
                    return
            except ConnectionClosed as closed:
                if closed.rcvd and closed.rcvd.code >= protocol.Close.MALFORMED:
                    raise Refused(f"{closed.rcvd.reason} ({closed.rcvd.code})") from closed
            except (OSError, InvalidHandshake, TimeoutError) as failure:
                self._failure = failure  # not there, or not yet: the lease bounds how often this is tried
            failures = 0 if talked else failures + 1
            await asyncio.sleep(REDIAL_S[min(failures, len(REDIAL_S) - 1)])

    async def _talk(self, ws: ClientConnection) -> None:
        prepared = self.task.done()
        if self._session_key is None:
            hello = Hello(token=self._token)
        else:
            hello = Hello(session_key=self._session_key, acked=self.outbox.acked, prepared=prepared)
        await ws.send(protocol.encode(hello))
        match protocol.decode(wire.parse(await ws.recv()), Task, Resume):
            case Task() as task:
                self._session_key = task.session_key
                self._renew(task.lease_s)
                self.task.set_result((task, await self._receive_bundle(ws) if task.repository else None))
            case Resume() as resume:
                self.outbox.rewind(resume.acked)
        closed: BaseExceptionGroup[ConnectionClosed] | None = None
        try:
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(self._send(ws))
                await self._listen(ws)
                sending.cancel()
        except* ConnectionClosed as several:
            closed = several
        if closed:
            raise closed.exceptions[0]

    async def _receive_bundle(self, ws: ClientConnection) -> Path:
        async def piece() -> bytes:
            while isinstance(data := await ws.recv(), str):
                await self._obey(ws, protocol.decode(wire.parse(data), Lease, Stop))
            return data

        while not isinstance(header := protocol.decode(wire.parse(await ws.recv()), Blob, Lease, Stop), Blob):
            await self._obey(ws, header)
        path = self._scratch / protocol.SOURCE_BUNDLE
        await protocol.receive_blob(piece, header, path)
        return path

    async def _listen(self, ws: ClientConnection) -> None:
        """Obey the runner until it has acknowledged the result."""
        while True:
            match protocol.decode(wire.parse(await ws.recv()), Ack, Lease, Stop):
                case Ack(seq=seq, result=finished):
                    self.outbox.acknowledge(seq)
                    if finished:
                        return
                case Lease() | Stop() as message:
                    await self._obey(ws, message)

    async def _obey(self, ws: ClientConnection, message: protocol.Message) -> None:
        """What the runner may say at any time, between the pieces of a file too."""
        match message:
            case Lease(seconds=seconds):
                self._renew(seconds)
                await ws.send(protocol.encode(Alive()))
            case Stop():
                self.stop.set()

    async def _send(self, ws: ClientConnection) -> None:
        """Send frames as they come, the first at once, then gathered; after the last one the result."""
        finishing = asyncio.create_task(self._finishing())
        try:
            while not finishing.done():
                ready = asyncio.create_task(self.outbox.ready())
                try:
                    await asyncio.wait({ready, finishing}, return_when=asyncio.FIRST_COMPLETED)
                    if not ready.done():
                        break
                finally:
                    ready.cancel()
                first, batch = self.outbox.take()
                await ws.send(protocol.encode_frames(first, batch), text=True)
                await asyncio.sleep(0 if self.outbox.waiting else GATHER_S)
            result, files = await finishing
        finally:
            finishing.cancel()
        for name, path in files.items():
            header = await asyncio.to_thread(protocol.describe, name, path)
            await protocol.send_blob(ws.send, header, path)
        await ws.send(protocol.encode(result))

    async def _finishing(self) -> tuple[Result, dict[str, Path]]:
        """The result, once every frame before it is stored."""
        finished = await asyncio.shield(self._result)
        await self.outbox.flushed()
        return finished

    def _renew(self, seconds: float) -> None:
        """So long from now, by this worker's own monotonic clock."""

        def lost() -> None:
            if not self.lease.done():
                why = f": {self._failure}" if self._failure else ""
                self.lease.set_exception(LeaseLost(f"not renewed for {seconds:g} s{why}"))

        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = asyncio.get_running_loop().call_later(seconds, lost)
