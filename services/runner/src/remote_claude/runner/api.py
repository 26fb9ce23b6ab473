"""The HTTP routes of the runner: where workers connect, and people who look into a sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, WebSocket
from pydantic import BaseModel

from remote_claude.access.principal import Principal
from remote_claude.access.refusals import NotAdmitted
from remote_claude.access.verifier import Verifier
from remote_claude.concurrency.tasks import first_of
from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.edge.caller import Caller, no_longer_admitted, presented, remember
from remote_claude.edge.models import problems
from remote_claude.edge.open_sockets import OpenSockets, TooManySockets
from remote_claude.edge.rate_limits import RateLimited, RateLimits
from remote_claude.eventsourcing import stream_id
from remote_claude.eventsourcing.log import EventLog
from remote_claude.runner.handlers import Accesses
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


@dataclass(frozen=True, slots=True)
class Opened:
    """Somebody who looks into a task, and its session."""

    who: Principal
    session: WorkerSession
    submitted: TaskSubmitted

    def is_seen_by(self, principal: Principal) -> bool:
        """Whether somebody may see the task."""
        return principal.sees(self.submitted.user, self.submitted.team)


def router(
    listener_of: Callable[[str], WorkerListener | None],
    verifier: Verifier,
    session_of: Callable[[str, str], WorkerSession | None],
    machines: Machines,
    log: EventLog,
    accesses: Accesses,
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
        async with admitted(peer, task, "open_shell") as opened:
            if opened is not None:
                await accesses.shell(opened.who, task)
                work = carry(peer, opened.session, term=term, columns=columns, rows=rows)
                await until_refused(peer, opened.who, "open_shell", work, opened)

    @api.websocket("/v1/tasks/{task}/ports/{port}")
    async def open_port(peer: WebSocket, task: str, port: Annotated[int, Path(ge=1, le=65535)]) -> None:
        async with admitted(peer, task, "open_port") as opened:
            if opened is not None:
                await accesses.port(opened.who, task, port)
                work = carry(peer, opened.session, port=port)
                await until_refused(peer, opened.who, "open_port", work, opened)

    @api.websocket(RUNNERS + "/join")
    async def join_runner(peer: WebSocket) -> None:
        async with caller(peer, "join_runner") as principal:
            if principal is not None:
                work = machines.serve(HttpChannel(peer), principal.org, WORKERS)
                await until_refused(peer, principal, "join_runner", work)

    @api.get(RUNNERS, tags=["runners"], responses=problems(403))
    async def list_runners(principal: Caller) -> JoinedRunners:
        """The organisation's own machines that have joined this service as runners."""
        return JoinedRunners(runners=[JoinedRunner(**one) for one in machines.of(principal.org)])

    @asynccontextmanager
    async def caller(peer: WebSocket, operation: str) -> AsyncIterator[Principal | None]:
        """Who has opened a socket, counted while it is open; None for one that was refused and closed."""
        await peer.accept()
        limits: RateLimits = peer.app.state.rate_limits
        open_sockets: OpenSockets = peer.app.state.open_sockets
        with ExitStack() as counted:
            try:
                principal = verifier.admit(presented(peer), operation)
                limits.identity(peer, principal)
                counted.enter_context(open_sockets.opened(principal.credential.id))
            except (NotAdmitted, RateLimited, TooManySockets) as error:
                await peer.close(4000 + error.status, error.code)
                yield None
                return
            yield principal

    @asynccontextmanager
    async def admitted(peer: WebSocket, task: str, operation: str) -> AsyncIterator[Opened | None]:
        """The same for a task that runs and that the person may see."""
        async with caller(peer, operation) as principal:
            if principal is None:
                yield None
                return
            if (session := session_of(principal.org, task)) is not None:
                recorded = await log.read_stream(stream_id("gateway", principal.org, "task", task))
                opened = Opened(principal, session, recorded[0].event)
                if opened.is_seen_by(principal):
                    await remember(peer, principal)
                    yield opened
                    return
            await peer.close(NOT_RUNNING, NOT_RUNNING_HERE)
            yield None

    return api


async def until_refused(
    peer: WebSocket,
    who: Principal,
    operation: str,
    work: Coroutine[Any, Any, None],
    opened: Opened | None = None,
) -> None:
    """Do the work of a WebSocket for as long as its person may do this, and see the task."""
    may = opened.is_seen_by if opened is not None else lambda _: True
    ended, refused = await first_of(work, no_longer_admitted(peer, who, operation, may))
    if refused is not None:
        refusal: NotAdmitted | None = refused.result()
        code, reason = (4000 + refusal.status, refusal.code) if refusal else (NOT_RUNNING, NOT_RUNNING_HERE)
        await HttpChannel(peer).close(code, reason)
    if ended is not None:
        ended.result()


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
