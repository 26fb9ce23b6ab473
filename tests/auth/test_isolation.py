"""PostgreSQL itself keeps organisations apart: a query that forgets its filter shows nothing of others."""

import psycopg
import pytest

from identity_stack import Installation
from remote_claude.eventsourcing.postgres.tables import query_for, reading
from remote_claude.gateway.projections.tasks import TasksView

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_query_without_a_filter_finds_the_own_organisation_only(installation: Installation) -> None:
    runtime = installation.host.runtime
    _, other = await installation.another("Bob")
    by_owner = installation.by_key
    tasks = []
    for person in (by_owner, other):
        answer = await person.post("/v1/tasks", json={"prompt": "x", "agent": "shell"})
        assert answer.status_code in (201, 202), answer.text
        assert (await person.get(f"/v1/tasks/{answer.json()['id']}")).status_code == 200
        tasks.append(answer.json()["id"])
    forgotten = "SELECT task FROM gateway_tasks.task"
    for org, seen in ((installation.owner.org, {tasks[0]}), ("org_another", set()), ("", set())):
        async with query_for(runtime.pool, TasksView, org) as connection:
            rows = await (await connection.execute(forgotten)).fetchall()
            assert {row[0] for row in rows} & set(tasks) == seen
    async with reading(runtime.pool, TasksView, org=None) as across:
        found = await (await across.execute(forgotten)).fetchall()
        assert {row["task"] for row in found} >= set(tasks)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with query_for(runtime.pool, TasksView, installation.owner.org) as connection:
            await connection.execute("DELETE FROM gateway_tasks.task")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with query_for(runtime.pool, TasksView, installation.owner.org) as connection:
            await connection.execute("SELECT * FROM users_directory.member")


async def test_every_table_with_organisations_has_its_policy(installation: Installation) -> None:
    runtime = installation.host.runtime
    query = (
        "SELECT c.relnamespace::regnamespace::text || '.' || relname FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid"
        " WHERE attname = 'org' AND relkind = 'r' AND (NOT relrowsecurity OR NOT EXISTS"
        " (SELECT FROM pg_policy WHERE polrelid = c.oid)) AND relnamespace::regnamespace::text = ANY(%s)"
    )
    async with runtime.pool.connection() as connection:
        bare = await (await connection.execute(query, [list(runtime.projectors)])).fetchall()
    assert bare == []
    assert {"gateway_tasks", "users_directory", "users_audit", "auth_credentials"} <= set(runtime.projectors)
