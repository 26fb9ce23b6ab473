"""The HTTP routes of the runner: where workers connect that reach it through a gateway."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, WebSocket

from remote_claude.runner.sessions import HttpChannel, WorkerListener
from remote_claude.worker.protocol.messages import Close

WORKERS = "/v1/workers"


def router(listener_of: Callable[[str], WorkerListener | None]) -> APIRouter:
    """`/v1/workers/{runner}`: a worker proves itself by its token, in the first message of the protocol."""
    api = APIRouter()

    @api.websocket(WORKERS + "/{runner}")
    async def connect_worker(peer: WebSocket, runner: str) -> None:
        await peer.accept()
        listener = listener_of(runner)
        if listener is None:
            await peer.close(Close.UNKNOWN_RUNNER, "there is no such runner here")
            return
        await listener.serve(HttpChannel(peer))

    return api
