"""PostgreSQL ends in the middle of transactions: no view is wrong after it, and tasks go from submission to end without it."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import psutil
import psycopg
import pytest

from product import Product, product
from servers import until

NOOP = {"prompt": "nothing", "agent": "noop"}
IN_TRANSACTION = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND xact_start IS NOT NULL
"""
WAITS_FOR_THE_TABLE = """
SELECT 1 FROM pg_locks WHERE relation = 'gateway_tasks.submission'::regclass AND NOT granted
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
    stack.rebuilds_equal()


@pytest.mark.parametrize("count", [3, pytest.param(10, marks=pytest.mark.nightly)])
def test_transactions_that_are_ended_in_their_middle_change_nothing(stack: Product, count: int) -> None:
    """Views, the copier of the archive, the scheduler's snapshots and its election: each is inside one."""
    ended, tasks = 0, []
    with psycopg.connect(stack.stack_file()["postgres_dsn"], autocommit=True) as admin:
        while ended < count:
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
    assert (done.code, done.json["error"]["code"]) == (4, "postgres_unavailable")
    assert done.err.startswith("PostgreSQL can't be used: terminating connection")
    assert "Traceback" not in done.err


@pytest.mark.nightly  # an answer is waited for until it is too late
def test_a_database_that_freezes_in_a_transaction_and_dies_holds_up_no_task(stack: Product) -> None:
    """The view of tasks has moved its checkpoint and not written its rows when every process of PostgreSQL stops."""
    dsn = stack.stack_file()["postgres_dsn"]
    root = psutil.Process(stack.stack_file()["pids"]["postgres"])
    with psycopg.connect(dsn) as lock, psycopg.connect(dsn, autocommit=True) as admin:
        lock.execute("LOCK TABLE gateway_tasks.submission IN SHARE MODE")
        tasks = submit(stack, 20)
        until(lambda: admin.execute(WAITS_FOR_THE_TABLE).fetchone() is not None, "a transaction that waits")
        family = [root, *root.children(recursive=True)]
        for process in family:
            process.suspend()
        try:
            tasks += submit(stack, 20)
            with stack.client() as client:
                answers = [client.get("/v1/tasks"), client.get("/v1/usage")]
        finally:
            for process in reversed(family):
                os.kill(process.pid, signal.SIGKILL)
        lock.close()
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == 2 * [
        (httpx2.codes.SERVICE_UNAVAILABLE, "database_unavailable")
    ]
    until(lambda: stack.stack_file()["pids"].get("postgres", root.pid) != root.pid, "another PostgreSQL", 60)
    follows(stack, tasks)
