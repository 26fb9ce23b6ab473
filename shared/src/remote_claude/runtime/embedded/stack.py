"""An embedded stack: broker, PostgreSQL and all services on this machine, kept running by this process.

`python -m remote_claude.runtime.embedded.stack [--port N]`; `rclaude up` is the way to call it.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version

from remote_claude.access.kek import create_kek
from remote_claude.concurrency.tasks import first_of
from remote_claude.runtime import owner
from remote_claude.runtime.broker.accounts import ADMIN, TOGETHER, accounts
from remote_claude.runtime.embedded import (
    Child,
    EmbeddedError,
    Home,
    PortInUse,
    Servers,
    ServerSetupFailed,
    StackAlreadyRunning,
    Supervisor,
    servers_for,
)
from remote_claude.runtime.embedded.home import is_free
from remote_claude.runtime.embedded.stack_file import StackFile
from remote_claude.runtime.settings import BadSettings
from remote_claude.runtime.settings_sources import resolve

log = logging.getLogger(__name__)

LOG = "log"
"""What `/readyz` calls the event log."""
POLL_S, RESTARTS_APART_S = 2.0, 30.0
SILENT_S, PRINT_EVERY_S = 60.0, 5.0
"""How long services may give no answer at all before they are started again; how often the log says what they wait for."""
ROOM = 32 * 1024 * 1024
"""Bytes: with less, a broker that was started again would soon stop again."""

ALREADY_RUNNING = 75
"""Exit code when another stack holds this home (EX_TEMPFAIL)."""


def main() -> None:
    """Run the stack of `RCLAUDE_HOME` until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="remote_claude.runtime.embedded.stack")
    parser.add_argument("--port", type=int, default=None)
    port = parser.parse_args().port
    try:
        resolve(os.environ)
        asyncio.run(run(Home.from_env(os.environ), os.environ, port))
    except StackAlreadyRunning as error:
        print(error, file=sys.stderr)
        sys.exit(ALREADY_RUNNING)
    except (BadSettings, EmbeddedError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        print(
            f"{error.filename} can't be used: {error.strerror}; whose is it, and is there room?",
            file=sys.stderr,
        )
        sys.exit(1)


async def run(home: Home, environment: Mapping[str, str], port: int | None) -> None:
    """Bring the stack up, say where it is in its file, keep it running until a signal, take it down."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with home:
        if port is not None and not is_free(port):
            raise PortInUse(
                f"port {port} of 127.0.0.1 is in use: name another with --port, or end what listens there"
            )
        servers = servers_for(home, environment, accounts=accounts())
        create_kek(home.root / "kek")
        local = owner.ensure(home.root / "owner.json")
        file = StackFile(
            home=str(home.root),
            pid=os.getpid(),
            version=version("remote-claude-shared"),
            url=f"http://127.0.0.1:{port or home.port('http')}",
            org=local.org,
            api_key=str(owner.api_key_file(home.root / "owner.json")),
            nats_url=servers.nats_url,
            nats_credentials=str(servers.nats_credentials.get(ADMIN, "")) or None,
            nats_ca=environment.get("RCLAUDE_NATS_CA"),
            nats_certificate=environment.get("RCLAUDE_NATS_CERTIFICATE"),
            nats_key=environment.get("RCLAUDE_NATS_KEY"),
            nats_users={user: str(path) for user, path in servers.nats_credentials.items()},
            postgres_dsn=servers.postgres_dsn,
            objects=str(home.root / "objects"),
            kek_file=str(home.root / "kek"),
            owner_file=str(home.root / "owner.json"),
        )
        up = False

        def processes_changed(pids: dict[str, int]) -> None:
            file.pids = {"stack": os.getpid(), **pids}
            if up:
                try:
                    file.save()
                except OSError as error:  # a full disk: it says where processes were until one changes again
                    log.warning("the processes could not be written down: %s", error)

        children = list(_servers(servers, file, home))
        services = _services(file, environment, after=[child.name for child in children])
        supervisor = Supervisor(
            [*children, services],
            log_dir=home.log,
            on_change=processes_changed,
        )
        starting = asyncio.create_task(supervisor.start())
        watching: asyncio.Task[None] | None = None
        try:
            await first_of(starting, stop.wait())
            if starting.done():
                starting.result()
                up = True
                file.save()
                print(f"ready at {file.url}", flush=True)
                watching = asyncio.create_task(_watch(supervisor, file.url, home))
                await first_of(watching, stop.wait())
                if watching.done():  # nobody would be started again: better to end
                    watching.result()
        finally:
            up = False
            for task in (starting, watching):
                if task is not None:
                    task.cancel()
            await supervisor.stop()
            file.remove()


async def _watch(supervisor: Supervisor, url: str, home: Home) -> None:
    """Raise what ends the watching over the children. Meanwhile, restart a broker that can work again and does not:
    once its disk was full it takes nothing more, whatever room there is."""
    watching = asyncio.create_task(supervisor.wait())
    host, _, port = url.removeprefix("http://").partition(":")
    try:
        while not (await asyncio.wait([watching], timeout=POLL_S))[0]:
            log_is_unready = LOG in (await asyncio.to_thread(_unready, host, int(port)) or {})
            if log_is_unready and shutil.disk_usage(home.nats).free >= ROOM:
                log.warning("the broker takes no events although its disk has room: it is started again")
                await supervisor.restart("nats")
                await asyncio.wait([watching], timeout=RESTARTS_APART_S)
        watching.result()
    finally:
        watching.cancel()


def _has_streams(home: Home) -> bool:
    return (home.streams / "KV_KEYS").exists()


def _servers(servers: Servers, file: StackFile, home: Home) -> Iterator[Child]:
    """The servers; the broker's first start makes its streams before anybody else is there."""
    for child in servers.children:
        if child.name == "nats":

            async def ready(listens: Callable[[], Awaitable[None]] = child.ready) -> None:
                await listens()
                if not _has_streams(home):
                    await _make_streams(file)

            yield replace(child, ready=ready)
        else:
            yield child


async def _make_streams(file: StackFile) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "remote_claude.runtime.broker.make_streams"),
        env={
            **os.environ,
            "RCLAUDE_NATS_URL": file.nats_url,
            "RCLAUDE_NATS_CREDENTIALS": file.nats_credentials or "",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await process.communicate()
    if process.returncode:
        raise ServerSetupFailed(f"the broker's streams could not be made: {stderr.decode().strip()}")


def _services(file: StackFile, environment: Mapping[str, str], *, after: Sequence[str]) -> Child:
    address = file.url.removeprefix("http://")
    host, _, port = address.partition(":")
    given = {
        "RCLAUDE_HOME": file.home,
        "RCLAUDE_NATS_URL": file.nats_url,
        "RCLAUDE_NATS_CREDENTIALS": file.nats_users.get(TOGETHER),
        "RCLAUDE_POSTGRES_DSN": file.postgres_dsn,
        "RCLAUDE_OBJECTS": file.objects,
        "RCLAUDE_KEK_FILE": file.kek_file,
        "RCLAUDE_OWNER_FILE": file.owner_file,
        "RCLAUDE_HTTP_HOST": host,
        "RCLAUDE_HTTP_PORT": port,
    }
    return Child(
        name="services",
        argv=[sys.executable, "-P", "-m", "remote_claude.runtime", "--once-input-ends"],
        env={**environment, **{name: value for name, value in given.items() if value}},
        ready=lambda: ready(host, int(port)),
        ready_timeout=None,
        stop_timeout=30.0,
        after=after,
        early=True,  # their imports take longer than the servers' start
    )


async def ready(
    host: str, port: int, *, silent_s: float = SILENT_S, print_every_s: float = PRINT_EVERY_S
) -> None:
    """Return when the services are ready, and say meanwhile how far they are: a long log takes long to read.

    Raises `TimeoutError` when they have not answered for `silent_s` seconds.
    """
    clock = asyncio.get_running_loop().time
    answered = printed_at = clock()
    printed: dict[str, str] = {}
    while (reasons := await asyncio.to_thread(_unready, host, port)) != {}:
        if reasons is not None:
            answered = clock()
            if reasons != printed and answered - printed_at > print_every_s:
                print(f"not ready yet: {'; '.join(reasons.values())}", flush=True)
                printed, printed_at = reasons, answered
        elif clock() - answered > silent_s:
            raise TimeoutError(f"did not answer for {silent_s:g} s")
        await asyncio.sleep(0.05)


def _unready(host: str, port: int) -> dict[str, str] | None:
    """What does not work, and why, by the services' own word; None when there is none."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return dict(json.loads(connection.getresponse().read())["reasons"])
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


if __name__ == "__main__":
    main()
