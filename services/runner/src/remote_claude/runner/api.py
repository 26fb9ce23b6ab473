"""The HTTP routes of the runner: where workers connect, and people who look into a sandbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path, Query, WebSocket

from remote_claude.access.refusals import NotAdmitted
from remote_claude.access.verifier import Verifier
from remote_claude.concurrency.tasks import first_of
from remote_claude.edge.identity import presented
from remote_claude.runner.sessions import (
    Channel,
    ChannelClosed,
    HttpChannel,
    NotOpened,
    WorkerListener,
    WorkerSession,
)
from remote_claude.worker.protocol.messages import Close

WORKERS = "/v1/workers"
NOT_RUNNING = 4404
NOT_OPENED = 4503
NOT_RUNNING_HERE = (
    "The task does not run now, or another runner process has it. Look with `rclaude show`, then try again."
)
Dimension = Annotated[int, Query(ge=1, le=1000)]


def router(
    listener_of: Callable[[str], WorkerListener | None],
    verifier: Verifier,
    session_of: Callable[[str, str], WorkerSession | None],
) -> APIRouter:
    """`/v1/workers/{runner}`: a worker proves itself by its token, in the first message of the protocol.

    `/v1/tasks/{task}/shell` and `/v1/tasks/{task}/ports/{port}` lead into the sandbox of a task that runs.
    """
    api = APIRouter()

    @api.websocket(WORKERS + "/{runner}")
    async def connect_worker(peer: WebSocket, runner: str) -> None:
        await peer.accept()
        listener = listener_of(runner)
        if listener is None:
            await peer.close(Close.UNKNOWN_RUNNER, "there is no such runner here")
            return
        await listener.serve(HttpChannel(peer))

    @api.websocket("/v1/tasks/{task}/shell")
    async def open_shell(
        peer: WebSocket,
        task: str,
        columns: Dimension = 80,
        rows: Dimension = 24,
        term: Annotated[str, Query(max_length=64, pattern="^[A-Za-z0-9._+-]+$")] = "xterm-256color",
    ) -> None:
        session = await admitted(peer, task, "open_shell")
        if session is not None:
            await carry(peer, session, term=term, columns=columns, rows=rows)

    @api.websocket("/v1/tasks/{task}/ports/{port}")
    async def open_port(peer: WebSocket, task: str, port: Annotated[int, Path(ge=1, le=65535)]) -> None:
        session = await admitted(peer, task, "open_port")
        if session is not None:
            await carry(peer, session, port=port)

    async def admitted(peer: WebSocket, task: str, operation: str) -> WorkerSession | None:
        await peer.accept()
        try:
            principal = verifier.admit(presented(peer), operation)
        except NotAdmitted as error:
            await peer.close(4000 + error.status, error.code)
            return None
        session = session_of(principal.org, task)
        if session is None:
            await peer.close(NOT_RUNNING, NOT_RUNNING_HERE)
        return session

    return api


async def carry(peer: WebSocket, session: WorkerSession, **opening: int | str) -> None:
    """Messages both ways between a person and the sandbox, until one side closes."""
    person = HttpChannel(peer)
    try:
        async with session.openings.opened(**opening) as sandbox:  # type: ignore[arg-type]  # as the routes have them
            await first_of(_pass(person, sandbox), _pass(sandbox, person))
    except NotOpened as error:
        await person.close(NOT_OPENED, str(error)[:120])
    except ChannelClosed:
        pass  # the sandbox is gone already
    await person.close(1000, "")


async def _pass(source: Channel, target: Channel) -> None:
    try:
        while True:
            await target.send(await source.receive())
    except ChannelClosed:
        return
