"""Open sockets: what waits to be sent to each, and when one has to be closed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Set
from typing import Any, Protocol

import orjson
import structlog
from starlette.websockets import WebSocketDisconnect

from remote_claude.access.principal import Presented, Principal
from remote_claude.access.refusals import NotAdmitted
from remote_claude.access.verifier import Verifier
from remote_claude.edge.websocket_frames import WriteFrame
from remote_claude.eventsourcing.tail import Tail
from remote_claude.gateway.projections.queries import Task
from remote_claude.gateway.settings import GatewaySettings
from remote_claude.gateway.watchers import Watch, Watchers

log = structlog.get_logger(__name__)

TRY_AGAIN_LATER, UNAUTHORIZED = 1013, 4401
TICK_S, CLOSE_WAIT_S = 0.5, 10.0
MAX_QUEUED = 1000
MAX_CHANGES = 100
"""How many tasks one frame `changed` names."""


class Peer(Protocol):
    """The other end of a WebSocket."""

    async def send_text(self, data: str) -> None: ...
    async def close(self, code: int = 1000, reason: str | None = None) -> None: ...


class Socket:
    """One client. One task sends what has to wait its turn, and pulls no more than the client takes.

    `write` passes the task by: where nothing waits, a frame for many sockets is written to each at once.
    """

    def __init__(
        self,
        peer: Peer,
        principal: Principal,
        presented: Presented,
        write_frame: WriteFrame | None = None,
    ) -> None:
        self.principal, self.presented = principal, presented
        self.watches: dict[str, Watch] = {}
        self.writing_since: float | None = None
        self._peer, self._write_frame = peer, write_frame
        self._queue: deque[str] = deque()
        self._changes: set[str] = set()
        self._unnamed = False
        self._changed = 0
        self._woken = asyncio.Event()
        self._close_reason: tuple[int, str, str] | None = None
        self._closing = asyncio.Event()

    def put(self, text: str) -> None:
        """Queue a frame that is not output. A client that leaves so many unread is given up."""
        if not self._closing.is_set():
            self._queue.append(text)
            self._woken.set()
            if len(self._queue) > MAX_QUEUED:
                self.close(TRY_AGAIN_LATER, "slow_consumer", "Nothing was read for too long.")

    def wake(self) -> None:
        """A watch has something to pull."""
        self._woken.set()

    def write(self, frame: bytes) -> bool:
        """Send an encoded frame now; False where something is to be sent before it, or the client is to be waited for."""
        if self._write_frame is None or self._queue or self._changes or self._unnamed:
            return False
        if self.writing_since is not None or self._closing.is_set():
            return False
        return self._write_frame(frame)

    def sees(self, task: Task | None) -> bool:
        """Whether its person may see a task."""
        who = self.principal
        return who.sees_all or (task is not None and who.sees(task.submitted_by, task.team))

    def sees_batch_of(self, user: str | None) -> bool:
        """Whether its person may see the batches that a person has submitted."""
        return self.principal.sees_all or (user is not None and self.principal.sees(user, None))

    def changed(self, task: str | None, position: int) -> None:
        """Report a change with the next frame; what is reported at once is one frame, however much it is."""
        if task is None:
            self._unnamed = True
        elif len(self._changes) <= MAX_CHANGES:
            self._changes.add(task)
        self._changed = position
        self._woken.set()

    def close(self, code: int, reason: str, detail: str) -> None:
        """Say why, then close. The first reason counts."""
        if not self._closing.is_set():
            self._close_reason = code, reason, detail
            self._queue.clear()
            self._closing.set()

    async def send_all(self, watchers: Watchers) -> None:
        """Send what comes, a frame of each watch in turn; never ends by itself."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            sent = True
            while sent:
                await self._flush()
                sent = False
                for watch in tuple(self.watches.values()):
                    sent |= await self._send_next(watch, watchers)

    async def _send_next(self, watch: Watch, watchers: Watchers) -> bool:
        """Send the next frame of a watch, if there is one."""
        text = await watch.pull()
        if self.watches.get(watch.channel.task) is not watch:  # it was ended meanwhile
            await watch.close()
            return False
        if text is None and watchers.is_over(watch):
            await self._flush()
            del self.watches[watch.channel.task]
            watchers.unwatch(watch)
            text = end_frame(watch)
        if text is not None:
            await self._write(text)
        return text is not None

    async def closing(self) -> None:
        """Return when this side has to close."""
        await self._closing.wait()

    async def send_close(self) -> None:
        """Close with the reason, if there is one. A peer that does not take it is given up."""
        if self._close_reason is None:
            return
        code, reason, detail = self._close_reason
        with contextlib.suppress(TimeoutError, RuntimeError, OSError, WebSocketDisconnect):
            async with asyncio.timeout(CLOSE_WAIT_S):
                if code == UNAUTHORIZED:
                    await self._peer.send_text(error_frame(401, reason, detail))
                await self._peer.close(code, reason)

    async def _flush(self) -> None:
        while self._queue:
            await self._write(self._queue.popleft())
        if self._changes or self._unnamed:
            changes, self._changes = self._changes, set()
            named, self._unnamed = None if self._unnamed else changes, False
            await self._write(changed_frame(named, self._changed))

    async def _write(self, text: str) -> None:
        self.writing_since = asyncio.get_running_loop().time()
        await self._peer.send_text(text)
        self.writing_since = None


class Sockets:
    """All open sockets of a process, and what closes them: a revoked key, a silent log, a client that does not read."""

    def __init__(self, settings: GatewaySettings, verifier: Verifier, tail: Tail, watchers: Watchers) -> None:
        self._settings, self._verifier, self._tail, self._watchers = settings, verifier, tail, watchers
        self._sockets: set[Socket] = set()

    def __len__(self) -> int:
        return len(self._sockets)

    @contextlib.asynccontextmanager
    async def opened(self, socket: Socket) -> AsyncIterator[Socket]:
        """Watch over a socket; end its watches with it."""
        self._sockets.add(socket)
        try:
            yield socket
        finally:
            self._sockets.discard(socket)
            self._watchers.unfollow(socket.principal.org, socket)
            for watch in socket.watches.values():
                self._watchers.unwatch(watch)
                await watch.close()
            socket.watches.clear()

    def revoke(self, credential: str) -> None:
        """Close what was opened with a credential: an API key or a session, by its id."""
        for socket in self._sockets:
            if socket.principal.credential.id == credential:
                socket.close(UNAUTHORIZED, "unauthenticated", "The credential has been revoked.")

    def remove_member(self, org: str, user: str) -> None:
        """Close what a person had opened for an organisation."""
        for socket in self._sockets:
            if (socket.principal.org, socket.principal.user) == (org, user):
                socket.close(UNAUTHORIZED, "unauthenticated", "You have left the organisation.")

    async def watch_over(self) -> None:
        """Heartbeats and time-outs; never ends by itself."""
        loop = asyncio.get_running_loop()
        beat = loop.time()
        while True:
            await asyncio.sleep(TICK_S)
            now = loop.time()
            self._watchers.nudge()
            stale = self._tail.age > self._settings.stale_after_s
            beating = now >= beat
            if beating:
                beat = now + self._settings.heartbeat_s
                heartbeat = heartbeat_frame(self._tail.position)
            for socket in tuple(self._sockets):
                if stale:
                    socket.close(TRY_AGAIN_LATER, "stale", "The event log sends no heartbeat. Connect again.")
                elif (
                    socket.writing_since is not None
                    and now - socket.writing_since > self._settings.watcher_stall_s
                ):
                    socket.close(TRY_AGAIN_LATER, "slow_consumer", "Nothing was read for too long.")
                elif self._sees_otherwise(socket.principal):
                    detail = "Your role, your teams or the organisation's policy have changed. Connect again."
                    socket.close(TRY_AGAIN_LATER, "permissions_changed", detail)
                elif beating:
                    self._beat(socket, heartbeat)

    def _sees_otherwise(self, who: Principal) -> bool:
        """Whether somebody sees other tasks by now than when their socket was opened."""
        verifier = self._verifier
        now = (
            verifier.memberships.of(who.user).get(who.org),
            verifier.teams.of(who.org, who.user),
            verifier.teams.visibility(who.org),
        )
        return now != (who.role, who.teams, who.visibility)

    def _beat(self, socket: Socket, heartbeat: str) -> None:
        try:
            self._verifier.readmit(socket.presented, socket.principal.credential, "stream_tasks")
        except NotAdmitted as error:
            socket.close(UNAUTHORIZED, error.code, str(error))
        else:
            socket.put(heartbeat)


def heartbeat_frame(position: int) -> str:
    """The frame `heartbeat`: how far the log has been read here."""
    return orjson.dumps({"type": "heartbeat", "position": position}).decode()


def error_frame(status: int, code: str, detail: str, task: str | None = None) -> str:
    """The frame `error`, with the HTTP status that the code has elsewhere; `task` when it is about a subscription."""
    frame: dict[str, Any] = {"type": "error", "code": code, "status": status, "detail": detail}
    if task is not None:
        frame["task"] = task
    return orjson.dumps(frame).decode()


def changed_frame(tasks: Set[str] | None, position: int) -> str:
    """The frame `changed`: tasks of the organisation that changed, null where they are not named, up to a position."""
    named = sorted(tasks) if tasks is not None and len(tasks) <= MAX_CHANGES else None
    return orjson.dumps({"type": "changed", "tasks": named, "position": position}).decode()


def end_frame(watch: Watch) -> str:
    """The frame `end`: the task is over, and all of its output has been sent."""
    frame = {
        "type": "end",
        "task": watch.channel.task,
        "state": watch.channel.progress.state,
        "cursor": str(watch.cursor),
    }
    return orjson.dumps(frame).decode()
