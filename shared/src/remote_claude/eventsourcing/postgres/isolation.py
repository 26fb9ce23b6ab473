"""Row-level security: who reads for an organisation sees its rows only, whatever the query says.

Each service has a role, `rclaude_<service>`, that may read its views and nothing else. A policy on every table with the
column `org` shows it the rows of the organisation in the setting `rclaude.org`; without the setting, none. Requests read
as this role. What works for all organisations (applying a view, outboxes, closing periods) reads as the owner of the
tables, to whom policies do not apply.
"""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, sql
from psycopg.errors import DuplicateObject, InsufficientPrivilege, UniqueViolation

from remote_claude.eventsourcing.errors import RightsMissing
from remote_claude.eventsourcing.views import View

ROLE_FOR_SET = 160000
"""The version of PostgreSQL since which a member of a role may lack the right to act as it."""

POLICY = """
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS own_organisation ON {table};
CREATE POLICY own_organisation ON {table} FOR SELECT USING ({column} = (SELECT current_setting('rclaude.org', true)));
"""


def role_of(view: str) -> str:
    """The role that reads a view for one organisation: that of its service."""
    return f"rclaude_{view.partition('_')[0]}"


async def isolate(connection: AsyncConnection[Any], schema: str, view: View) -> None:
    """Give the role of the service the right to read a schema, and each table with organisations its policy.

    A table says where the organisation is by a column `org`, or by `info={"org": <column>}`. Doing it again changes
    nothing. Raises `RightsMissing`.
    """
    role, place = sql.Identifier(role_of(view.name)), sql.Identifier(schema)
    await _ensure_role(connection, role_of(view.name))
    await connection.execute(
        sql.SQL("GRANT USAGE ON SCHEMA {0} TO {1}; GRANT SELECT ON ALL TABLES IN SCHEMA {0} TO {1}").format(
            place, role
        )
    )
    for table in view.tables.sorted_tables:
        column = table.info.get("org", "org")
        if column in table.columns:
            names = {"table": sql.Identifier(schema, table.name), "column": sql.Identifier(column)}
            await connection.execute(sql.SQL(POLICY).format(**names))


async def is_isolated(connection: AsyncConnection[Any], schema: str, view: View) -> bool:
    """Whether the role of the service may read a schema; a database from a dump may lack the role."""
    query = "SELECT coalesce(has_schema_privilege(to_regrole(%s), %s, 'USAGE'), false)"
    row = await (await connection.execute(query, [role_of(view.name), schema])).fetchone()
    return row is not None and bool(row[0])


async def _ensure_role(connection: AsyncConnection[Any], role: str) -> None:
    """Roles belong to the whole server: another database of it may have made this one, or be making it now."""
    name, right = sql.Identifier(role), "SET" if connection.info.server_version >= ROLE_FOR_SET else "MEMBER"
    query = "SELECT to_regrole(%s) IS NOT NULL, pg_has_role(to_regrole(%s), %s)"
    row = await (await connection.execute(query, [role, role, right])).fetchone()
    exists, usable = row or (False, False)
    try:
        if not exists:
            try:
                async with connection.transaction():
                    await connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(name))
            except (DuplicateObject, UniqueViolation):
                pass
            row = await (await connection.execute(query, [role, role, right])).fetchone()
            usable = row is not None and row[1]
        if not usable:
            await connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(name))
    except InsufficientPrivilege as error:
        user = connection.info.user
        raise RightsMissing(
            f"the role {user} may not create or use the role {role}, which reads for one organisation: as an administrator, "
            f'CREATE ROLE "{role}" NOLOGIN; GRANT "{role}" TO "{user}"'
        ) from error
