"""Who there is: people, organisations, memberships. Names stay sealed; they are opened at the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from psycopg import AsyncConnection
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from remote_claude.contracts.users import MemberJoined, OrgCreated, UserRegistered
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.views import View


class Tables(SQLModel, registry=registry()):
    """The tables of this view, apart from every other view's."""


class Person(Tables, table=True):
    id: str = Field(primary_key=True)
    name_key: str
    name_box: str


class Organisation(Tables, table=True):
    id: str = Field(primary_key=True)
    name_key: str
    name_box: str
    created_at: str


class Member(Tables, table=True):
    org: str = Field(primary_key=True)
    person: str = Field(primary_key=True)
    role: str


class DirectoryView(View):
    """Folds registrations, foundations and joinings."""

    name: ClassVar[str] = "users_directory"
    version: ClassVar[int] = 1
    tables = Tables.metadata
    handles = frozenset(e.type for e in (UserRegistered, OrgCreated, MemberJoined))

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        for recorded in events:
            match recorded.event:
                case UserRegistered() as e:
                    await connection.execute(
                        "INSERT INTO person VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                        (e.user, e.name.key, e.name.box),
                    )
                case OrgCreated() as e:
                    await connection.execute(
                        "INSERT INTO organisation VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
                        (e.org, e.name.key, e.name.box, recorded.occurred_at),
                    )
                case MemberJoined() as e:
                    await connection.execute(
                        "INSERT INTO member VALUES (%s, %s, %s)"
                        " ON CONFLICT (org, person) DO UPDATE SET role = excluded.role",
                        (e.org, e.user, e.role),
                    )
