"""The HTTP routes of the runner: where workers connect, and people who look into a sandbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path, Query, WebSocket
from pydantic import BaseModel

from remote_claude.access.principal import Principal
from remote_claude.access.refusals import NotAdmitted
from remote_claude.access.verifier import Verifier
from remote_claude.concurrency.tasks import first_of
from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.edge.caller import Caller, presented
from remote_claude.edge.models import problems
from remote_claude.eventsourcing import stream_id
from remote_claude.eventsourcing.log import EventLog
from remote_claude.runner.machines.registry import Machines
from remote_claude.runner.sessions import (
    Channel,
    ChannelClosed,
    HttpChannel,
    StreamNotOpened,
    WorkerListener,
    WorkerSession,
)
from remote_claude.worker.protocol.messages import Close

WORKERS = "/v1/workers"
RUNNERS = "/v1/runners"
NOT_RUNNING = 4404
NOT_OPENED = 4503
NOT_RUNNING_HERE = (
    "The task does not run now, or another runner process has it. Look with `rclaude show`, then try again."
)
Dimension = Annotated[int, Query(ge=1, le=1000)]


class JoinedRunner(BaseModel):
    """A machine of one's own that is a runner. `state` is `joined`, `draining` or `away`; `tasks` run there now."""

    name: str
    runner: str
    state: str
    release: str
    slots: int
    agents: list[str]
    labels: dict[str, str]
    tasks: list[str]


class JoinedRunners(BaseModel):
    """The machines of one organisation, by name."""

    runners: list[JoinedRunner]


def router(
    listener_of: Callable[[str], WorkerListener | None],
    verifier: Verifier,
    session_of: Callable[[str, str], WorkerSession | None],
    machines: Machines,
    log: EventLog,
) -> APIRouter:
    """`/v1/workers/{runner}`: a worker proves itself by its token, in the first message of the protocol.

    `/v1/runners/join` takes machines of an organisation's own as runners, `/v1/runners` lists them.

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

    @api.websocket(RUNNERS + "/join")
    async def join_runner(peer: WebSocket) -> None:
        principal = await caller(peer, "join_runner")
        if principal is not None:
            await machines.serve(HttpChannel(peer), principal.org, WORKERS)

    @api.get(RUNNERS, tags=["runners"], responses=problems(403))
    async def list_runners(principal: Caller) -> JoinedRunners:
        """The organisation's own machines that have joined this service as runners."""
        return JoinedRunners(runners=[JoinedRunner(**one) for one in machines.of(principal.org)])

    async def caller(peer: WebSocket, operation: str) -> Principal | None:
        await peer.accept()
        try:
            return verifier.admit(presented(peer), operation)
        except NotAdmitted as error:
            await peer.close(4000 + error.status, error.code)
            return None

    async def seen(principal: Principal, task: str) -> bool:
        recorded = await log.read_stream(stream_id("gateway", principal.org, "task", task))
        submitted: TaskSubmitted = recorded[0].event
        return principal.sees(submitted.user, submitted.team)

    async def admitted(peer: WebSocket, task: str, operation: str) -> WorkerSession | None:
        principal = await caller(peer, operation)
        if principal is None:
            return None
        session = session_of(principal.org, task)
        if session is not None and not principal.sees_all and not await seen(principal, task):
            session = None
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
    except StreamNotOpened as error:
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
