"""Replay has no handle to the outside: not in what a fold is given, not in what it can import, not when it runs."""

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway_stack import running_gateway
from product import environment_of
from receiver import heard, receiving
from remote_claude.eventsourcing.views import View
from remote_claude.gateway.handlers import WebhookHandlers
from remote_claude.gateway.projections.webhooks import WebhooksView
from remote_claude.runtime.broker.broker_permissions import services
from remote_claude.runtime.ids import new_id
from servers import Broker

ROOT = Path(__file__).resolve().parents[2]
OFFLINE = ROOT / "tests" / "offline_rebuild.py"
OUTSIDE = (
    "httpx2", "httpcore2", "httpx", "aiohttp", "requests", "urllib3", "urllib.request", "http.client", "websockets",
    "smtplib", "aiosmtplib", "ftplib", "nats", "obstore", "stripe", "boto3", "botocore", "google.cloud", "azure", "paramiko",
    "remote_claude.eventsourcing.postgres.effects",
)  # fmt: skip
"""What could reach it. `psycopg` is not among them: a fold is given a connection, and to its own database only."""


def views() -> Iterator[type[View]]:
    """The class of every view that an installed service can define."""
    for service in services():
        for path in sorted(
            (ROOT / "services" / service / "src/remote_claude" / service).glob("projections/[!_]*.py")
        ):
            module = f"remote_claude.{service}.projections.{path.stem}"
            __import__(module)
            for value in vars(sys.modules[module]).values():
                if isinstance(value, type) and issubclass(value, View) and value.__module__ == module:
                    yield value


VIEWS = sorted(views(), key=lambda view: view.name)


def test_the_views_are_found() -> None:
    assert {
        "auth_credentials",
        "gateway_batches",
        "gateway_contents",
        "gateway_shares",
        "gateway_starters",
        "gateway_tasks",
        "gateway_webhooks",
        "billing_invoices",
        "billing_mail",
        "billing_payments",
        "billing_usage",
        "runner_held",
        "runner_pull_requests",
        "runner_threads",
        "users_audit",
        "users_directory",
        "users_tickets",
    } == {view.name for view in VIEWS}


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_a_fold_is_given_a_connection_and_events_and_keeps_nothing(view: type[View]) -> None:
    assert list(inspect.signature(view.apply).parameters) == ["self", "connection", "events"]
    assert vars(view()) == {}


def test_nothing_that_a_view_imports_reaches_the_outside() -> None:
    """All in one process; the first view after whose import something is found is named."""
    code = (
        "import sys, importlib\n"
        f"for view in {[view.__module__ for view in VIEWS]!r}:\n"
        "    importlib.import_module(view)\n"
        f"    found = [m for m in sys.modules if any(m == o or m.startswith(o + '.') for o in {OUTSIDE!r})]\n"
        "    assert not found, (view, found)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def test_a_rebuild_of_every_view_reaches_nothing_but_its_own_servers(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path
) -> None:
    with receiving() as receiver:
        async with running_gateway(fresh_nats, postgres_dsn, tmp_path) as stack:
            member = await stack.member()
            runtime = stack.host.runtime
            add = WebhookHandlers(runtime.log, runtime.keyring, runtime.clock).add
            await add(new_id("hook"), member.org, receiver.url)
            receiver.answer = lambda _: 200 if len(receiver.heard) == 1 else 500
            tasks = [await member.submit() for _ in range(3)]
            for task in tasks:
                await stack.start(member.org, task)
                await stack.finish(member.org, task)
                await stack.succeed(member.org, task)
            await heard(receiver, 3)
            position = await runtime.log.last_position()
            assert await runtime.projectors[WebhooksView.name].wait_for(position, 30)
        before = len(receiver.heard)
        done = await asyncio.to_thread(rebuilt_without_an_outside, fresh_nats, postgres_dsn, tmp_path)
        assert done.returncode == 0, done.stderr
        assert "gateway_webhooks: " in done.stdout
        assert done.stdout.count("equal to the live view") == 6  # the gateway's; nobody keeps the others here
        assert done.stdout.count("not compared") == len(VIEWS) - 6
        assert len(receiver.heard) == before

        # what was pending still is, and is told
        async with running_gateway(fresh_nats, postgres_dsn, tmp_path):
            receiver.answer = lambda _: 200
            await heard(receiver, before + 2)
    assert {told.body["data"]["task"] for told in receiver.heard} == set(tasks)


def rebuilt_without_an_outside(broker: Broker, dsn: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, OFFLINE, urlsplit(broker.url).netloc, *[view.name for view in VIEWS]],
        env=environment_of(folder, broker, dsn),
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_attempt_to_reach_the_outside_there_is_caught() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import offline_rebuild, httpx2\n"
        "offline_rebuild.stay_offline(('127.0.0.1', 1)); httpx2.post(sys.argv[2])"
    )
    with receiving() as receiver:
        done = subprocess.run(
            [sys.executable, "-c", code, OFFLINE.parent, receiver.url],
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, receiver.heard) == (99, []), done.stderr
    assert "reached for the outside" in done.stderr
