"""API keys and sessions of their owners: made, listed, ended."""

from __future__ import annotations

import json
from datetime import timedelta
from enum import Enum
from http import HTTPStatus

from fastapi import APIRouter, Depends, Response

from remote_claude.access import credential_secrets
from remote_claude.access.keyring import KeyErased, Keyring
from remote_claude.access.refusals import RoleMissing, ScopeMissing
from remote_claude.access.scopes import ORG_SCOPES, allows
from remote_claude.auth.api.models import (
    IdentityAnswer,
    IdentityList,
    KeyAnswer,
    KeyCreated,
    KeyList,
    NewKey,
    OpenSessionAnswer,
    SessionList,
)
from remote_claude.auth.api.sessions import KNOWN_WITHIN_S
from remote_claude.auth.domain.identities import IdentityNotFound, LastIdentity
from remote_claude.auth.domain.keys import KeyNotFound
from remote_claude.auth.domain.sessions import SessionNotFound
from remote_claude.auth.handlers import ApiKeys, Identities, Sessions
from remote_claude.auth.projections.credentials import CredentialsView, identities_of, keys_of, sessions_of
from remote_claude.contracts import Sealed
from remote_claude.contracts.contexts import (
    identity_subject_context,
    key_name_context,
    session_client_context,
)
from remote_claude.edge.caller import Caller, Person
from remote_claude.edge.freshness import Freshness
from remote_claude.edge.models import problems
from remote_claude.edge.problems import Problem
from remote_claude.eventsourcing import timestamp
from remote_claude.runtime.ids import is_id
from remote_claude.runtime.service import Runtime

ADMINS = ("owner", "admin")
NO_SERVICE_ACCOUNT = "There is no such service account in this organisation. `rclaude service-account list` shows those that there are."
NO_TEAM = "There is no such team in this organisation. `rclaude org team list` shows those that there are."
KEYS: list[str | Enum] = ["keys"]
SESSIONS: list[str | Enum] = ["sessions"]


def add_routes(
    api: APIRouter, runtime: Runtime, keys: ApiKeys, sessions: Sessions, identities: Identities
) -> None:
    """The routes below `/v1/keys` and `/v1/sessions`."""
    fresh = Freshness(runtime.tail, lambda: runtime.projectors[CredentialsView.name])
    reads = [Depends(fresh)]

    @api.post("/v1/keys", tags=KEYS, status_code=HTTPStatus.CREATED, responses=problems(403, 404, 422, 503))
    async def create_key(principal: Caller, body: NewKey) -> KeyCreated:
        """Make an API key for the organisation, of the caller, a service account or a team. It is shown once."""
        user = body.service_account or body.team or principal.user
        if user != principal.user and principal.role is not None and principal.role not in ADMINS:
            raise RoleMissing(principal.role, ADMINS)  # who has no role needs the scope only
        if body.service_account is not None and not runtime.verifier.memberships.has_service_account(
            principal.org, body.service_account
        ):
            raise Problem(HTTPStatus.NOT_FOUND, "service_account_not_found", NO_SERVICE_ACCOUNT)
        if body.team is not None and runtime.verifier.teams.get(principal.org, body.team) is None:
            raise Problem(HTTPStatus.NOT_FOUND, "team_not_found", NO_TEAM)
        scopes = tuple(dict.fromkeys(body.scopes if body.scopes is not None else ORG_SCOPES))
        for scope in scopes:
            if not allows(principal.scopes, scope):
                raise ScopeMissing(scope, principal.scopes)
        key, secret = runtime.new_id("key"), credential_secrets.generate()
        own = await runtime.keyring.get(principal.org)
        expires_at = (
            timestamp(runtime.clock() + timedelta(days=body.expires_in_days))
            if body.expires_in_days
            else None
        )
        position = await keys.issue(
            key=key,
            org=principal.org,
            user=user,
            secret=secret,
            scopes=scopes,
            expires_at=expires_at,
            name=own.seal(body.name, key_name_context(key)),
            issued_by=principal.user,
        )
        await runtime.verifier.wait_for(position, KNOWN_WITHIN_S)
        return KeyCreated(
            id=key, secret=secret, scopes=list(scopes), expires_at=expires_at, position=position
        )

    @api.get("/v1/keys", tags=KEYS, dependencies=reads, responses=problems(403, 404, 503))
    async def list_keys(principal: Caller) -> KeyList:
        """The keys of the organisation for its owners and admins; for others their own and those of their teams."""
        found = [
            KeyAnswer(
                id=row.id,
                name=await _open(runtime.keyring, row.name, key_name_context(row.id)),
                prefix=row.prefix,
                user=row.user,
                scopes=row.scopes,
                created_at=row.created_at,
                expires_at=row.expires_at,
                used_at=row.used_at,
            )
            for row in await keys_of(runtime.pool, principal.org)
            if principal.role in ADMINS or row.user in (principal.user, *principal.teams)
        ]
        return KeyList(keys=found, as_of=fresh.as_of)

    @api.delete(
        "/v1/keys/{key}", tags=KEYS, status_code=HTTPStatus.NO_CONTENT, responses=problems(403, 404, 503)
    )
    async def revoke_key(principal: Caller, key: str) -> Response:
        """Refuse a key from here on, everywhere, on open connections too."""
        if not is_id("key", key):
            raise KeyNotFound(f"There is no key {key[:64]!r}. `rclaude key list` shows yours.")
        by = None if principal.role in ADMINS else principal.user
        position = await keys.revoke(key=key, org=principal.org, reason="revoked", owner=by)
        await runtime.verifier.wait_for(position, KNOWN_WITHIN_S)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @api.get("/v1/identities", tags=SESSIONS, dependencies=reads, responses=problems(403, 503))
    async def list_identities(identity: Person) -> IdentityList:
        """The accounts at sign-in providers that sign the caller in."""
        found = [
            IdentityAnswer(
                id=row.id,
                provider=row.provider,
                subject=await _open(runtime.keyring, row.subject, identity_subject_context(row.id)),
                linked_at=row.linked_at,
            )
            for row in await identities_of(runtime.pool, identity.user)
        ]
        return IdentityList(identities=found, as_of=fresh.as_of)

    @api.delete(
        "/v1/identities/{account}",
        tags=SESSIONS,
        status_code=HTTPStatus.NO_CONTENT,
        dependencies=reads,
        responses=problems(403, 404, 409, 503),
    )
    async def unlink_identity(identity: Person, account: str) -> Response:
        """Unlink an account: the caller can no longer sign in with it."""
        own = {row.id for row in await identities_of(runtime.pool, identity.user)}
        if account not in own:
            raise IdentityNotFound
        if len(own) == 1:
            raise LastIdentity
        await identities.unlink(account, identity.user)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @api.get("/v1/sessions", tags=SESSIONS, dependencies=reads, responses=problems(403, 503))
    async def list_sessions(identity: Person) -> SessionList:
        """The open sessions of the caller."""
        now = timestamp(runtime.clock())
        found = []
        for row in await sessions_of(runtime.pool, identity.user):
            if row.expires_at <= now:
                continue
            client = json.loads(
                await _open(runtime.keyring, row.client, session_client_context(row.id)) or "{}"
            )
            found.append(
                OpenSessionAnswer(
                    id=row.id,
                    kind=row.kind,
                    method=row.method,
                    address=client.get("address"),
                    agent=client.get("agent"),
                    opened_at=row.opened_at,
                    used_at=row.used_at,
                    expires_at=row.expires_at,
                    current=row.id == identity.credential.id,
                )
            )
        return SessionList(sessions=found, as_of=fresh.as_of)

    @api.delete(
        "/v1/sessions/{session}",
        tags=SESSIONS,
        status_code=HTTPStatus.NO_CONTENT,
        responses=problems(403, 404, 503),
    )
    async def revoke_session(identity: Person, session: str) -> Response:
        """End a session of the caller, everywhere."""
        if not is_id("session", session):
            raise SessionNotFound(session)
        position = await sessions.revoke(session, identity.user, "ended")
        await runtime.verifier.wait_for(position, KNOWN_WITHIN_S)
        return Response(status_code=HTTPStatus.NO_CONTENT)


async def _open(keyring: Keyring, sealed: Sealed | None, context: str) -> str | None:
    try:
        return await keyring.open(sealed, context) if sealed else None
    except KeyErased:
        return None
