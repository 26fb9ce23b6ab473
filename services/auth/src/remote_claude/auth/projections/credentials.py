"""The view `auth_credentials`: keys and sessions that are good, for the lists of their owners. Holds no secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from psycopg import AsyncConnection
from sqlalchemy.orm import registry
from sqlmodel import Field

from remote_claude.contracts import Sealed
from remote_claude.contracts.auth import (
    ApiKeyIssued,
    ApiKeyRevoked,
    ApiKeyUsed,
    IdentityLinked,
    IdentityUnlinked,
    SessionOpened,
    SessionRefreshed,
    SessionRevoked,
)
from remote_claude.contracts.users import MemberRemoved, ServiceAccountRemoved, TeamDeleted, UserErased
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.postgres.tables import TableRow, reading
from remote_claude.eventsourcing.views import View


class Tables(TableRow, registry=registry()):
    """The tables of this view, apart from every other view's."""


class KeyTable(Tables, table=True):
    __tablename__ = "api_key"
    id: str = Field(primary_key=True)
    org: str = Field(index=True)
    person: str
    prefix: str
    scopes: str
    name_key: str | None
    name_box: str | None
    created_at: str
    expires_at: str | None
    used_at: str | None


class SessionTable(Tables, table=True):
    __tablename__ = "session"
    id: str = Field(primary_key=True)
    person: str = Field(index=True)
    kind: str
    method: str
    client_key: str | None
    client_box: str | None
    opened_at: str
    used_at: str
    expires_at: str


class IdentityTable(Tables, table=True):
    __tablename__ = "identity"
    id: str = Field(primary_key=True)
    person: str = Field(index=True)
    provider: str
    subject_key: str
    subject_box: str
    linked_at: str


class CredentialsView(View):
    """Folds keys and sessions."""

    name: ClassVar[str] = "auth_credentials"
    version: ClassVar[int] = 4
    tables = Tables.metadata
    handles = frozenset(
        e.type
        for e in (
            ApiKeyIssued,
            ApiKeyRevoked,
            ApiKeyUsed,
            SessionOpened,
            SessionRefreshed,
            SessionRevoked,
            IdentityLinked,
            IdentityUnlinked,
            MemberRemoved,
            ServiceAccountRemoved,
            TeamDeleted,
            UserErased,
        )
    )

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        for recorded in events:
            if recorded.type == UserErased.type:
                for table in ("api_key", "session", "identity"):
                    await connection.execute(
                        f"DELETE FROM {table} WHERE person = %s",  # noqa: S608 - a name of ours
                        (recorded.aggregate_id,),
                    )
                continue
            statement, parameters = _statement(recorded)
            await connection.execute(statement, parameters)


def _statement(recorded: RecordedEvent) -> tuple[str, tuple[Any, ...]]:
    at = recorded.occurred_at
    match recorded.event:
        case ApiKeyIssued() as e:
            name = (e.name.key, e.name.box) if e.name else (None, None)
            return (
                "INSERT INTO api_key VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, NULL) ON CONFLICT DO NOTHING",
                (e.key, e.org, e.user, e.prefix, " ".join(e.scopes), *name, at, e.expires_at),
            )
        case ApiKeyUsed(key=key, used_at=used_at):
            return "UPDATE api_key SET used_at = %s WHERE id = %s", (used_at, key)
        case ApiKeyRevoked(key=key):
            return "DELETE FROM api_key WHERE id = %s", (key,)
        case (
            MemberRemoved(org=org, user=user)
            | ServiceAccountRemoved(org=org, service_account=user)
            | TeamDeleted(org=org, team=user)
        ):
            return "DELETE FROM api_key WHERE org = %s AND person = %s", (org, user)
        case SessionOpened() as e:
            client = (e.client.key, e.client.box) if e.client else (None, None)
            return (
                "INSERT INTO session VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                (e.session, e.user, e.kind, e.method, *client, at, at, e.expires_at),
            )
        case SessionRefreshed(session=session, expires_at=expires):
            return "UPDATE session SET used_at = %s, expires_at = %s WHERE id = %s", (at, expires, session)
        case SessionRevoked(session=session):
            return "DELETE FROM session WHERE id = %s", (session,)
        case IdentityLinked() as e:
            return (
                "INSERT INTO identity VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE"
                " SET person = excluded.person, subject_key = excluded.subject_key,"
                " subject_box = excluded.subject_box, linked_at = excluded.linked_at",
                (e.identity, e.user, e.provider, e.subject.key, e.subject.box, at),
            )
        case IdentityUnlinked(identity=identity):
            return "DELETE FROM identity WHERE id = %s", (identity,)
    raise AssertionError(recorded.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A key that has not been revoked. It may have expired."""

    id: str
    user: str
    prefix: str
    scopes: list[str]
    name: Sealed | None
    created_at: str
    expires_at: str | None
    used_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A session that has not been revoked. It may have expired."""

    id: str
    kind: Literal["browser", "cli"]
    method: str
    client: Sealed | None
    opened_at: str
    used_at: str
    expires_at: str


async def keys_of(pool: Pool, org: str) -> list[KeyRow]:
    """The keys of an organisation, in the order in which they were made."""
    async with reading(pool, CredentialsView, org=org) as connection:
        found = await connection.execute(
            "SELECT * FROM api_key WHERE org = %s ORDER BY created_at, id", [org]
        )
        return [
            KeyRow(
                id=row["id"],
                user=row["person"],
                prefix=row["prefix"],
                scopes=row["scopes"].split(),
                name=_sealed(row, "name"),
                created_at=row["created_at"],
                expires_at=row["expires_at"],
                used_at=row["used_at"],
            )
            for row in await found.fetchall()
        ]


async def sessions_of(pool: Pool, user: str) -> list[SessionRow]:
    """The sessions of a person, the last opened first."""
    async with reading(pool, CredentialsView, org=None) as connection:
        found = await connection.execute(
            "SELECT * FROM session WHERE person = %s ORDER BY opened_at DESC, id", [user]
        )
        return [
            SessionRow(
                id=row["id"],
                kind=row["kind"],
                method=row["method"],
                client=_sealed(row, "client"),
                opened_at=row["opened_at"],
                used_at=row["used_at"],
                expires_at=row["expires_at"],
            )
            for row in await found.fetchall()
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRow:
    """An account at a provider that signs a person in."""

    id: str
    provider: str
    subject: Sealed
    linked_at: str


async def identities_of(pool: Pool, user: str) -> list[IdentityRow]:
    """The accounts that sign a person in, in the order of linking."""
    async with reading(pool, CredentialsView, org=None) as connection:
        found = await connection.execute(
            "SELECT * FROM identity WHERE person = %s ORDER BY linked_at, id", [user]
        )
        return [
            IdentityRow(
                id=row["id"],
                provider=row["provider"],
                subject=Sealed(key=row["subject_key"], box=row["subject_box"]),
                linked_at=row["linked_at"],
            )
            for row in await found.fetchall()
        ]


def _sealed(row: dict[str, Any], column: str) -> Sealed | None:
    key, box = row[f"{column}_key"], row[f"{column}_box"]
    return Sealed(key=key, box=box) if key is not None else None
