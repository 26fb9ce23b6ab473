"""The live stream: one WebSocket, any number of tasks. `docs/reference/stream.md` describes its frames."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated, Literal, TypeAlias

import structlog
from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.websockets import WebSocketDisconnect

from remote_claude.access.principal import Presented, Principal
from remote_claude.access.refusals import NotAdmitted
from remote_claude.access.verifier import Verifier
from remote_claude.concurrency.tasks import first_of
from remote_claude.contracts.refusals import NotCaughtUp, Refusal
from remote_claude.edge.caller import presented
from remote_claude.edge.open_sockets import OpenSockets, TooManySockets
from remote_claude.edge.problems import UNAVAILABLE, refusal_of
from remote_claude.edge.rate_limits import RateLimited, RateLimits
from remote_claude.edge.websocket_frames import writer_of
from remote_claude.eventsourcing.tail import Tail
from remote_claude.gateway.domain.cursor import START, Cursor
from remote_claude.gateway.domain.refusals import TaskNotFound
from remote_claude.gateway.settings import GatewaySettings
from remote_claude.gateway.sockets import (
    TRY_AGAIN_LATER,
    Socket,
    Sockets,
    changed_frame,
    error_frame,
    heartbeat_frame,
)
from remote_claude.gateway.watchers import Watchers
from remote_claude.runtime.agent_output import OutputUnavailable
from remote_claude.runtime.ids import is_id

log = structlog.get_logger(__name__)

AUTHENTICATES_WITHIN_S = 10
MAX_WATCHES = 100


EXPECTED = (*UNAVAILABLE, OutputUnavailable, WebSocketDisconnect, RuntimeError, OSError)
"""How a socket may end."""


class ClientMessage(BaseModel):
    """What a client may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Auth(ClientMessage):
    type: Literal["auth"]
    token: str


class Subscribe(ClientMessage):
    type: Literal["subscribe"]
    task: str
    after: str | None = None
    min_position: Annotated[int, Field(ge=0)] = 0


class Unsubscribe(ClientMessage):
    type: Literal["unsubscribe"]
    task: str


class Follow(ClientMessage):
    type: Literal["follow"]


class Unfollow(ClientMessage):
    type: Literal["unfollow"]


class Ping(ClientMessage):
    type: Literal["ping"]


AnyMessage: TypeAlias = Auth | Subscribe | Unsubscribe | Follow | Unfollow | Ping
MESSAGE: TypeAdapter[AnyMessage] = TypeAdapter(Annotated[AnyMessage, Field(discriminator="type")])


class Stream:
    """Serves the sockets of `/v1/stream`."""

    def __init__(
        self, settings: GatewaySettings, verifier: Verifier, tail: Tail, watchers: Watchers, sockets: Sockets
    ) -> None:
        self._settings, self._verifier, self._tail = settings, verifier, tail
        self._watchers, self._sockets = watchers, sockets

    async def serve(self, peer: WebSocket) -> None:
        """One socket, from its handshake to its end."""
        await peer.accept()
        try:
            shown, principal = await self._authenticate(peer)
            open_sockets: OpenSockets = peer.app.state.open_sockets
            with open_sockets.opened(principal.credential.id):
                await self._serve(peer, shown, principal)
        except (NotAdmitted, RateLimited, TooManySockets) as error:
            await peer.send_text(error_frame(error.status, error.code, str(error)))
            await peer.close(4000 + error.status, error.code)
        except WebSocketDisconnect:
            pass

    async def _serve(self, peer: WebSocket, shown: Presented, principal: Principal) -> None:
        """A socket whose person is known."""
        socket = Socket(peer, principal, shown, writer_of(peer))
        async with self._sockets.opened(socket):
            if self._tail.age > self._settings.stale_after_s:
                socket.close(TRY_AGAIN_LATER, "stale", "The event log sends no heartbeat. Connect again.")
            work = await first_of(
                self._receive(peer, socket), socket.send_all(self._watchers), socket.closing()
            )
        failures = [done.exception() for done in work if done is not None and not done.cancelled()]
        for failure in failures:
            if isinstance(failure, (*UNAVAILABLE, OutputUnavailable)) and (refusal := refusal_of(failure)):
                log.warning("a socket is closed", code=refusal.code, error=repr(failure))
                socket.close(TRY_AGAIN_LATER, refusal.code, refusal.detail)
        await socket.send_close()
        for failure in failures:
            if failure is not None and not isinstance(failure, EXPECTED):
                raise failure

    async def _authenticate(self, peer: WebSocket) -> tuple[Presented, Principal]:
        """By the handshake's header or session cookie, or by the first message. Raises `NotAdmitted`, `RateLimited`."""
        shown = presented(peer)
        if shown.authorization is None and shown.cookie is None:
            with contextlib.suppress(TimeoutError, ValidationError, KeyError):
                async with asyncio.timeout(AUTHENTICATES_WITHIN_S):
                    message = MESSAGE.validate_json(await peer.receive_text())
                if isinstance(message, Auth):
                    shown = Presented(authorization=f"Bearer {message.token}", org=shown.org)
        principal = self._verifier.admit(shown, "stream_tasks")
        limits: RateLimits = peer.app.state.rate_limits
        limits.identity(peer, principal)
        return shown, principal

    async def _receive(self, peer: WebSocket, socket: Socket) -> None:
        """Do what the client says, one message after the other, until it leaves."""
        while True:
            try:
                message = MESSAGE.validate_json(await peer.receive_text())
            except (ValidationError, KeyError):
                detail = "A message is a JSON object: `subscribe`, `unsubscribe`, `follow`, `unfollow` or `ping`. See the reference of the stream."
                socket.put(error_frame(422, "invalid_message", detail))
                continue
            match message:
                case Subscribe():
                    await self._subscribe(socket, message)
                case Unsubscribe():
                    if (watch := socket.watches.pop(message.task, None)) is not None:
                        self._watchers.unwatch(watch)
                case Follow():
                    self._watchers.follow(socket.principal.org, socket)
                    socket.put(changed_frame(frozenset(), self._tail.position))
                case Unfollow():
                    self._watchers.unfollow(socket.principal.org, socket)
                case Ping():
                    socket.put(heartbeat_frame(self._tail.position))
                case Auth():
                    socket.put(error_frame(422, "invalid_message", "This socket is authenticated already."))

    async def _subscribe(self, socket: Socket, message: Subscribe) -> None:
        task = message.task
        try:
            if not is_id("task", task):
                raise TaskNotFound(task)
            cursor = Cursor.parse(message.after) if message.after is not None else START
            if (before := socket.watches.pop(task, None)) is not None:
                self._watchers.unwatch(before)
            if len(socket.watches) >= MAX_WATCHES:
                detail = f"A socket watches at most {MAX_WATCHES} tasks. Unsubscribe from one, or open another socket."
                socket.put(error_frame(422, "too_many_subscriptions", detail, task))
                return
            watch = await self._watchers.watch(socket.principal, task, socket, cursor, message.min_position)
            socket.watches[task] = watch
            socket.wake()
        except NotCaughtUp as refusal:
            socket.close(TRY_AGAIN_LATER, refusal.code, refusal.detail)
        except Refusal as refusal:
            socket.put(error_frame(refusal.status, refusal.code, refusal.detail, task))


def add_routes(api: APIRouter, stream: Stream) -> None:
    """The route `/v1/stream`."""

    @api.websocket("/v1/stream")
    async def stream_tasks(peer: WebSocket) -> None:
        await stream.serve(peer)
