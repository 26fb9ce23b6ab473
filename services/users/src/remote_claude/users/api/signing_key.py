"""The organisation's key that signs commits: made here, sealed, and answered by its public half only."""

from __future__ import annotations

from http import HTTPStatus

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)
from fastapi import APIRouter, Response
from pydantic import BaseModel

from remote_claude.access import vault
from remote_claude.access.vault import SIGNING_KEY
from remote_claude.contracts.contexts import secret_context
from remote_claude.contracts.users import SecretStored
from remote_claude.edge.caller import Caller
from remote_claude.edge.models import problems
from remote_claude.eventsourcing import CommandHandler
from remote_claude.runtime.service import Runtime
from remote_claude.users.api.vault import SECRETS, VAULT
from remote_claude.users.domain.vault import RemoveSecret


class SigningKeyAnswer(BaseModel):
    """The public key as OpenSSH and forges take it; null without one. Commits that are pushed are signed with its private half."""

    public_key: str | None


def add_routes(api: APIRouter, runtime: Runtime) -> None:
    """The routes of the signing key."""
    handler = CommandHandler(runtime.log, runtime.clock)

    @api.post("/v1/org/signing-key", tags=SECRETS, responses=problems(403, 409, 503))
    async def create_signing_key(principal: Caller) -> SigningKeyAnswer:
        """Make a key (ed25519) that signs the commits of the organisation's tasks when they are pushed. It replaces an earlier one."""
        private = Ed25519PrivateKey.generate()
        text = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
        key = await runtime.keyring.get(principal.org)
        sealed = key.seal(text, secret_context(principal.org, None, SIGNING_KEY))
        stored = SecretStored(
            org=principal.org, by=principal.user, owner=None, secret_name=SIGNING_KEY, value=sealed
        )
        await handler.handle(VAULT, vault.stream_of(principal.org), stored)
        return SigningKeyAnswer(public_key=_public(text))

    @api.get("/v1/org/signing-key", tags=SECRETS, responses=problems(503))
    async def get_signing_key(principal: Caller) -> SigningKeyAnswer:
        """The public key that verifies the commits of the organisation's tasks."""
        found = (await vault.read_vault(runtime.log, principal.org)).stored.get((None, SIGNING_KEY))
        if found is None:
            return SigningKeyAnswer(public_key=None)
        return SigningKeyAnswer(public_key=_public(await vault.open_secret(runtime.keyring, found)))

    @api.delete(
        "/v1/org/signing-key",
        tags=SECRETS,
        status_code=HTTPStatus.NO_CONTENT,
        responses=problems(403, 404, 503),
    )
    async def remove_signing_key(principal: Caller) -> Response:
        """Sign no more commits."""
        command = RemoveSecret(org=principal.org, by=principal.user, name=SIGNING_KEY, owner=None)
        await handler.handle(VAULT, vault.stream_of(principal.org), command)
        return Response(status_code=HTTPStatus.NO_CONTENT)


def _public(private: str) -> str:
    public = load_ssh_private_key(private.encode(), None).public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
