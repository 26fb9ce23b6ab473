"""FastAPI's way to who is asking and may: `async def route(principal: TaskReader)`.

A request without a good credential is answered with 401, one whose key lacks the scope with 403.
"""

from typing import Annotated, Any

from fastapi import Depends, Request

from remote_claude.access.verifier import Principal, Verifier


def _with(scope: str) -> Any:
    async def principal(request: Request) -> Principal:
        verifier: Verifier = request.app.state.verifier
        return verifier.admit(request.headers.get("authorization"), scope)

    return Depends(principal)


TaskReader = Annotated[Principal, _with("tasks:read")]
TaskWriter = Annotated[Principal, _with("tasks")]
BillReader = Annotated[Principal, _with("billing")]
Operator = Annotated[Principal, _with("operations")]
