"""Tokens for forges over HTTP, of the organisation and of a person. None is ever answered."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Self

from fastapi import APIRouter, Response
from pydantic import StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from remote_claude.access import vault
from remote_claude.contracts.contexts import secret_context
from remote_claude.contracts.refusals import Refusal
from remote_claude.contracts.users import SecretStored
from remote_claude.edge.caller import Caller
from remote_claude.edge.models import problems
from remote_claude.eventsourcing import CommandHandler
from remote_claude.outbound.forges import Forges
from remote_claude.runtime.service import Runtime
from remote_claude.users.api.models import RequestBody
from remote_claude.users.api.vault import SECRETS, VAULT, NewToken, SecretChanged, Token
from remote_claude.users.domain.vault import RemoveSecret

Number = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class GitHubApp(RequestBody):
    """A GitHub App and its installation by their ids, and the App's private key (PEM)."""

    app: Number
    installation: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,20}$")]
    key: Annotated[
        str, StringConstraints(max_length=8192, pattern=r"^-----BEGIN [A-Z ]*PRIVATE KEY-----[^\x00]+$")
    ]


class ForgeCredential(RequestBody):
    """Either a token, or on GitHub an App, whose installation gives tokens that are good for an hour."""

    value: Token | None = None
    app: GitHubApp | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.value is None) == (self.app is None):
            raise PydanticCustomError("forge_credential", "needs either `value` or `app`")
        return self

    @property
    def stored(self) -> str:
        """As it is sealed: the token, or the App as JSON."""
        return self.app.model_dump_json() if self.app is not None else str(self.value)


class ForgeUnknown(Refusal):
    """The installation knows no forge of this name, or none that has Apps."""

    code = "forge_unknown"
    status = 404


def add_routes(api: APIRouter, runtime: Runtime) -> None:
    """The routes of forges."""
    handler = CommandHandler(runtime.log, runtime.clock)
    forges = Forges(runtime.settings.forges)

    def check(forge: str) -> None:
        if forge not in forges.by_name:
            raise ForgeUnknown(
                f"There is no forge {forge[:64]!r}; known: {', '.join(forges.names())}. The operator adds others with "
                "RCLAUDE_FORGES."
            )

    async def store(who: Caller, forge: str, value: str, owner: str | None) -> SecretChanged:
        check(forge)
        name = f"forge_{forge}"
        key = await runtime.keyring.get(owner or who.org)
        sealed = key.seal(value, secret_context(who.org, owner, name))
        stored = SecretStored(org=who.org, by=who.user, owner=owner, secret_name=name, value=sealed)
        handled = await handler.handle(VAULT, vault.stream_of(who.org), stored)
        return SecretChanged(name=name, position=handled.position)

    async def remove(who: Caller, forge: str, owner: str | None) -> Response:
        check(forge)
        command = RemoveSecret(org=who.org, by=who.user, name=f"forge_{forge}", owner=owner)
        await handler.handle(VAULT, vault.stream_of(who.org), command)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @api.put("/v1/org/forges/{forge}", tags=SECRETS, responses=problems(403, 404, 409, 422, 503))
    async def connect_forge(principal: Caller, forge: str, body: ForgeCredential) -> SecretChanged:
        """Store the organisation's token or App for a forge, sealed. A later one replaces it; none is ever answered."""
        check(forge)
        if body.app is not None and forges.by_name[forge].kind != "github":
            raise ForgeUnknown(f"{forge} has no Apps: store a token.")
        return await store(principal, forge, body.stored, None)

    @api.delete("/v1/org/forges/{forge}", tags=SECRETS, status_code=204, responses=problems(403, 404, 503))
    async def disconnect_forge(principal: Caller, forge: str) -> Response:
        """Remove the organisation's token for a forge."""
        return await remove(principal, forge, None)

    @api.put("/v1/me/forges/{forge}", tags=SECRETS, responses=problems(403, 404, 409, 422, 503))
    async def connect_own_forge(principal: Caller, forge: str, body: NewToken) -> SecretChanged:
        """Store a token of one's own for a forge: the forge then checks one's access for one's own tasks."""
        return await store(principal, forge, body.value, principal.user)

    @api.delete("/v1/me/forges/{forge}", tags=SECRETS, status_code=204, responses=problems(403, 404, 503))
    async def disconnect_own_forge(principal: Caller, forge: str) -> Response:
        """Remove one's own token for a forge."""
        return await remove(principal, forge, principal.user)
