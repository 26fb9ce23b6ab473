"""The MCP server over HTTP. Each request brings the API key of its own client: the server here has none to lend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from remote_claude.cli import render
from remote_claude.cli.client import CliClient
from remote_claude.cli.config import Target
from remote_claude.cli.mcp.tools import server
from remote_claude.cli.session import client_of

HOST = "127.0.0.1"
BEARER = "bearer "


def serve(target: Target, place: Path | None, port: int) -> None:
    """Serve until a signal ends it. `place` is the repository that its clients may use."""

    def connect(context: Context[Any, Any]) -> CliClient:
        key = (context.headers or {}).get("authorization", "")[len(BEARER) :]
        return client_of(Target(target.url, key.strip(), supervised=target.supervised))

    app = server(connect, place).streamable_http_app(stateless_http=True, json_response=True, host=HOST)
    render.note(
        f"http://{HOST}:{port}/mcp serves {target.url}; clients send `Authorization: Bearer <API key>`"
    )
    uvicorn.run(_WithKey(app), host=HOST, port=port, log_level="warning")


class _WithKey:
    """Refuses requests without a key. Whether it is a good one is for the API to say."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            if not headers.get(b"authorization", b"").lower().startswith(BEARER.encode()):
                refusal = JSONResponse(
                    {"detail": "Send an API key of Remote Claude as `Authorization: Bearer <API key>`."},
                    401,
                    {"WWW-Authenticate": "Bearer"},
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
