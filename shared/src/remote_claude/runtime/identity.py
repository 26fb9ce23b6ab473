"""FastAPI's way to who is asking: `async def route(principal: Who)`."""

from typing import Annotated

from fastapi import Depends, Request

from remote_claude.access.verifier import Principal, Verifier


async def _principal(request: Request) -> Principal:
    verifier: Verifier = request.app.state.verifier
    return verifier.verify(request.headers.get("authorization"))


Who = Annotated[Principal, Depends(_principal)]
"""Whoever the credential of a request belongs to; a request without a good one is answered with 401."""
