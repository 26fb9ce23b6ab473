"""Transactions of PostgreSQL are ended in their middle: no view is wrong after it, and no task is refused meanwhile."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import psycopg
import pytest

from product import Product, product
from servers import until

NOOP = {"prompt": "nothing", "agent": "noop"}
IN_TRANSACTION = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND xact_start IS NOT NULL
"""

WAITING = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND query LIKE '%"users_directory"%'
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Product]:
    with product({"RCLAUDE_RUNNER_SLOTS": "200"}) as one:
        yield one


def submit(stack: Product, count: int) -> list[str]:
    """So many tasks, each acknowledged."""
    with stack.client() as client:
        answers = [client.post("/v1/tasks", json=NOOP) for _ in range(count)]
    assert {answer.status_code for answer in answers} == {httpx2.codes.CREATED}
    return [answer.json()["id"] for answer in answers]


def follows(stack: Product, tasks: list[str]) -> None:
    """Every task has ended, the archive has it all, and each view is what a rebuild makes of the log."""
    for task in tasks:
        assert stack.ended(task)["state"] == "succeeded"
    assert stack.verified()["live"] == 0
    end = stack.events()[-1]["position"]
    until(lambda: bool(stack.api("/v1/status").json()["archive"]["position"] >= end), "the archive", 60)
    assert stack.admin("log", "verify", "--json").json["findings"] == []
    for view in stack.admin("views", "--json").json:
        assert stack.admin("rebuild", view["name"], "--json").json["equal"] is True


def test_transactions_that_are_ended_in_their_middle_change_nothing(stack: Product) -> None:
    """Views, the copier of the archive, the scheduler's snapshots and its election: whoever is inside one."""
    ended, tasks = 0, []
    with psycopg.connect(stack.stack_file()["postgres_dsn"], autocommit=True) as admin:
        while ended < 10:
            tasks += submit(stack, 4)
            for _ in range(20):
                ended += len(admin.execute(IN_TRANSACTION).fetchall())
    follows(stack, tasks)


def test_a_command_whose_postgresql_goes_away_says_so_and_has_found_nothing(stack: Product) -> None:
    dsn = stack.stack_file()["postgres_dsn"]
    with (
        psycopg.connect(dsn) as lock,
        psycopg.connect(dsn, autocommit=True) as admin,
        ThreadPoolExecutor() as pool,
    ):
        lock.execute("LOCK TABLE users_directory.checkpoint")
        command = pool.submit(stack.admin, "views", "--json")

        def ended() -> bool:
            admin.execute(WAITING)
            return command.done()

        until(ended, "the end of the command", 60, pause=0.1)
    done = command.result()
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith("PostgreSQL can't be used: terminating connection")
    assert "Traceback" not in done.err
