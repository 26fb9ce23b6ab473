"""What a process does while broker or PostgreSQL is not there."""

import asyncio
import signal
from pathlib import Path

import pytest
from psycopg import OperationalError

from remote_claude.eventsourcing.errors import RebuildInProgress
from remote_claude.eventsourcing.log import LogTrimmed, LogUnavailable, PositionAhead
from remote_claude.runtime import host
from remote_claude.runtime.admin.command_support import failure
from remote_claude.runtime.admin.exits import Exit
from remote_claude.runtime.broker.connection import connect_nats
from remote_claude.runtime.purpose import Purpose
from remote_claude.runtime.settings import BrokerSettings, RuntimeSettings
from remote_claude.runtime.telemetry.logs_and_metrics import Metrics
from servers import Broker, nats_with_accounts, running_postgres, until
from service_processes import installation


def test_services_wait_for_a_postgresql_that_is_on_its_way_up(tmp_path: Path) -> None:
    with (
        nats_with_accounts() as as_user,
        running_postgres() as postgres,
        postgres.fresh() as dsn,
        installation(as_user, dsn, tmp_path) as one,
    ):
        postgres.stop()
        service = one.start("users")
        assert service.process is not None
        until(lambda: b"error connecting" in service.log.read_bytes(), "a first attempt", 60, pause=0.05)
        postgres.start()
        service.ready()
        assert service.process.poll() is None


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_services_that_still_wait_for_a_postgresql_end_when_they_are_told(
    tmp_path: Path, told: signal.Signals
) -> None:
    with (
        nats_with_accounts() as as_user,
        running_postgres() as postgres,
        postgres.fresh() as dsn,
        installation(as_user, dsn, tmp_path) as one,
    ):
        postgres.stop()
        service = one.start("users")
        assert service.process is not None
        until(lambda: b"error connecting" in service.log.read_bytes(), "a first attempt", 60, pause=0.05)
        service.process.send_signal(told)
        assert service.process.wait(30) == 0
        postgres.start()


def test_what_went_wrong_is_said_although_the_broker_is_dead(
    settings: RuntimeSettings, fresh_nats: Broker
) -> None:

    async def work() -> None:
        metrics = Metrics("test")
        try:
            async with host.connected(settings, {}, metrics, Purpose.MAINTAIN) as runtime:
                fresh_nats.kill()
                with pytest.raises(LogUnavailable):
                    await runtime.log.last_position()
                await runtime.nats.publish("unsent", b"")
                raise LogUnavailable("what went wrong")
        finally:
            metrics.close()

    with pytest.raises(LogUnavailable, match="what went wrong"):
        host.run(work())


@pytest.mark.parametrize(
    ("error", "exit", "code"),
    [
        (LogUnavailable("the broker gave no answer"), Exit.AWAY, "log_unavailable"),
        (OperationalError("gone"), Exit.AWAY, "postgres_unavailable"),
        (TimeoutError(), Exit.AWAY, "timeout"),
        (PositionAhead(9, 3), Exit.REFUSED, "position_ahead"),
        (LogTrimmed(3, 9), Exit.REFUSED, "log_trimmed"),
        (RebuildInProgress("a_view"), Exit.REFUSED, "rebuild_in_progress"),
        (PermissionError(13, "Permission denied", "file"), Exit.REFUSED, "system_error"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_commands_error_has_an_exit_code_a_code_and_words(error: Exception, exit: Exit, code: str) -> None:
    known = failure(error)
    assert known is not None
    assert (known.exit, known.code, known.detail != "") == (exit, code, True)


def test_an_error_of_ours_keeps_its_traceback() -> None:
    assert failure(AssertionError()) is None


@pytest.mark.parametrize("turns", range(12))
async def test_a_broker_that_hangs_up_as_its_caller_gives_up_is_not_dialled_for_ever(turns: int) -> None:
    """`turns` of the loop lie between the two; before Python 3.12 `wait_for` loses one that comes with the other."""
    loop = asyncio.get_running_loop()
    dialled = 0

    def give_up(turns: int) -> None:
        if turns:
            loop.call_soon(give_up, turns - 1)
        else:
            connecting.cancel()

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dialled
        dialled += 1
        writer.close()
        if dialled == 1:
            give_up(turns)

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        settings = BrokerSettings(nats_url=f"nats://127.0.0.1:{port}", nats_credentials=None)
        connecting = asyncio.create_task(connect_nats(settings))
        ended, _ = await asyncio.wait([connecting], timeout=5)
        assert ended
