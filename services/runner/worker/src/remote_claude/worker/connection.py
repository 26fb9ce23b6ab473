"""The worker's end of the connection: it survives drops, resumes without gap or duplicate, and knows its lease."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from remote_claude.worker.dialing import dial
from remote_claude.worker.first_of import first_of
from remote_claude.worker.frame_window import FrameWindow
from remote_claude.worker.protocol import messages as protocol
from remote_claude.worker.protocol.messages import (
    Ack,
    Alive,
    Assignment,
    Blob,
    CheckpointSent,
    Finished,
    Hello,
    LeaseTime,
    Open,
    PermissionAnswer,
    Resume,
    Saved,
    Stop,
    TaskMessage,
)
from remote_claude.worker.result_tree import RepositoryFailed

START_LEASE_S = 15.0
"""How long a worker without an assignment looks for its runner."""
GATHER_S = 0.02
REDIAL_S = (0.02, 0.1, 0.3, 1.0)


class LeaseLost(Exception):
    """Not renewed for one lease: another runner may have this task by now."""

    code = "lease_lost"


class ConnectionRefused(Exception):
    """The runner closed the connection, and dialling again is useless."""

    code = "refused"


@dataclass(frozen=True, slots=True)
class ReceivedAssignment:
    """The assignment, the bundle of its repository, and the checkpoint to continue from."""

    assignment: Assignment
    bundle: Path | None
    checkpoint: Path | None


class RunnerConnection:
    """Speaks the protocol with the runner at `url`."""

    def __init__(self, url: str, token: str, scratch: Path) -> None:
        self._url, self._token, self._scratch = url, token, scratch
        self.session_key: str | None = None
        self.saves = False
        """Whether the runner keeps checkpoints."""
        self._expiry: asyncio.TimerHandle | None = None
        self._failure: Exception | None = None
        """Why the runner could not be dialled the last time."""
        self._result: asyncio.Future[tuple[Finished, dict[str, Path]]] = asyncio.Future()
        self._checkpoint: tuple[CheckpointSent, Path] | None = None
        """The latest, until the runner has stored it."""
        self._saved = asyncio.Event()
        self._received_messages = 0
        self._wake = asyncio.Event()
        self.window = FrameWindow()
        self.received: asyncio.Future[ReceivedAssignment] = asyncio.Future()
        self.messages: asyncio.Queue[TaskMessage] = asyncio.Queue()
        self.interrupted = asyncio.Event()
        """A message is to be taken at once; the reader clears it."""
        self.answers: asyncio.Queue[PermissionAnswer] = asyncio.Queue()
        """To permission requests of the agent; one may come again."""
        self.openings: asyncio.Queue[Open] = asyncio.Queue()
        """What people want to connect to."""
        self.stop = asyncio.Event()
        self.lease: asyncio.Future[None] = asyncio.Future()
        """Never done, unless `LeaseLost`."""
        self._renew(START_LEASE_S)

    def finish(self, result: Finished, files: dict[str, Path]) -> None:
        """Send the result after the last frame; `run` returns when the runner has it."""
        self._result.set_result((result, files))
        self._wake.set()

    async def save(self, checkpoint: CheckpointSent, archive: Path) -> None:
        """Send a checkpoint; returns when the runner has stored it."""
        self._checkpoint = checkpoint, archive
        self._saved.clear()
        self._wake.set()
        await self._saved.wait()

    async def run(self) -> None:
        """Dial, talk, dial again, until the runner has the result. Raises `ConnectionRefused`."""
        failures = 0
        while True:
            talked = False
            try:
                async with dial(self._url) as ws:
                    talked, self._failure = True, None
                    await self._talk(ws)
                    return
            except ConnectionClosed as closed:
                if closed.rcvd and closed.rcvd.code >= protocol.Close.MALFORMED:
                    raise ConnectionRefused(f"{closed.rcvd.reason} ({closed.rcvd.code})") from closed
            except (OSError, InvalidHandshake, TimeoutError) as failure:
                self._failure = failure  # not there, or not yet: the lease bounds how often this is tried
            failures = 0 if talked else failures + 1
            await asyncio.sleep(REDIAL_S[min(failures, len(REDIAL_S) - 1)])

    async def _talk(self, ws: ClientConnection) -> None:
        if self.session_key is None:
            hello = Hello(token=self._token)
        else:
            hello = Hello(
                session_key=self.session_key,
                acked=self.window.acked,
                messages=self._received_messages,
                prepared=self.received.done(),
            )
        await ws.send(protocol.encode(hello))
        match protocol.decode(await ws.recv(), Assignment, Resume):
            case Assignment() as assignment:
                self.session_key, self.saves = assignment.session_key, assignment.saves
                self._renew(assignment.lease_s)
                try:
                    bundle = await self._receive_file(ws, protocol.SOURCE_BUNDLE, assignment.repository)
                    checkpoint = await self._receive_file(ws, protocol.CHECKPOINT, assignment.checkpoint)
                except OSError as error:  # the connection is taken up again, for the result
                    why = f"there is no room for what was sent: {error}"
                    self.received.set_exception(RepositoryFailed("bundle_too_large", why))
                    raise
                self.received.set_result(ReceivedAssignment(assignment, bundle, checkpoint))
            case Resume() as resume:
                self.window.rewind(resume.acked)
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

    async def _receive_file(self, ws: ClientConnection, name: str, announced: bool) -> Path | None:
        async def piece() -> bytes:
            while isinstance(data := await ws.recv(), str):
                await self._handle_control(ws, protocol.decode(data, LeaseTime, Stop))
            return data

        if not announced:
            return None
        while not isinstance(header := protocol.decode(await ws.recv(), Blob, LeaseTime, Stop), Blob):
            await self._handle_control(ws, header)
        path = self._scratch / name
        await protocol.receive_blob(piece, header, path)
        return path

    async def _listen(self, ws: ClientConnection) -> None:
        """Handle the runner's messages until it has acknowledged the result."""
        while True:
            match protocol.decode(
                await ws.recv(), Ack, LeaseTime, Stop, TaskMessage, Saved, Open, PermissionAnswer
            ):
                case Ack(seq=seq, result=finished):
                    self.window.acknowledge(seq)
                    if finished:
                        return
                case TaskMessage() as message:
                    if message.number > self._received_messages:
                        self._received_messages = message.number
                        self.messages.put_nowait(message)
                        if message.interrupt:
                            self.interrupted.set()
                case PermissionAnswer() as answer:
                    self.answers.put_nowait(answer)
                case Open() as opening:
                    self.openings.put_nowait(opening)
                case Saved(turn=turn):
                    if self._checkpoint is not None and self._checkpoint[0].turn == turn:
                        self._checkpoint = None
                        self._saved.set()
                case LeaseTime() | Stop() as message:
                    await self._handle_control(ws, message)

    async def _handle_control(self, ws: ClientConnection, message: object) -> None:
        """What may arrive at any time, between the pieces of a file too."""
        match message:
            case LeaseTime(seconds=seconds):
                self._renew(seconds)
                await ws.send(protocol.encode(Alive()))
            case Stop():
                self.stop.set()

    async def _send(self, ws: ClientConnection) -> None:
        """Send frames as they come, the first at once, then gathered; checkpoints between; at last the result."""
        sent: CheckpointSent | None = None
        finishing = asyncio.create_task(self._finishing())
        try:
            while not finishing.done():
                if self._checkpoint is not None and self._checkpoint[0] != sent:
                    sent, archive = self._checkpoint
                    await self._send_file(ws, protocol.CHECKPOINT, archive)
                    await ws.send(protocol.encode(sent))
                await self._something_to_send(finishing)
                if self.window.waiting:
                    first, batch = self.window.take()
                    await ws.send(protocol.encode_frames(first, batch), text=True)
                    await asyncio.sleep(0 if self.window.waiting else GATHER_S)
            result, files = await finishing
        finally:
            finishing.cancel()
        for name, path in files.items():
            await self._send_file(ws, name, path)
        await ws.send(protocol.encode(result))

    async def _something_to_send(self, finishing: asyncio.Task[tuple[Finished, dict[str, Path]]]) -> None:
        await first_of(self.window.ready(), self._wake.wait(), finishing)
        self._wake.clear()

    async def _send_file(self, ws: ClientConnection, name: str, path: Path) -> None:
        header = await asyncio.to_thread(protocol.describe, name, path)
        await protocol.send_blob(ws.send, header, path)

    async def _finishing(self) -> tuple[Finished, dict[str, Path]]:
        """The result, once every frame before it is stored."""
        finished = await asyncio.shield(self._result)
        await self.window.flushed()
        return finished

    @property
    def taken_messages(self) -> int:
        """The number of the last message that the agent has taken."""
        return self._received_messages - self.messages.qsize()

    def skip_messages(self, handled: int) -> None:
        """Those up to this number were handled before the checkpoint that this attempt continues from."""
        self._received_messages = max(self._received_messages, handled)

    def _renew(self, seconds: float) -> None:
        """So long from now, by this worker's own monotonic clock."""

        def lost() -> None:
            if not self.lease.done():
                why = f": {self._failure}" if self._failure else ""
                self.lease.set_exception(LeaseLost(f"not renewed for {seconds:g} s{why}"))

        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = asyncio.get_running_loop().call_later(seconds, lost)
