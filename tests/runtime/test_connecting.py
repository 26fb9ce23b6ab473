"""What a process does while broker or PostgreSQL is not there."""

from pathlib import Path

import pytest
import typer

from remote_claude.access.kek import create_kek
from remote_claude.eventsourcing.log import LogUnavailable
from remote_claude.runtime import host
from remote_claude.runtime.administration import refusing
from remote_claude.runtime.settings import RuntimeSettings
from remote_claude.runtime.telemetry import Metrics
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


def test_what_went_wrong_is_said_although_the_broker_is_dead(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path
) -> None:
    create_kek(tmp_path / "kek")
    settings = RuntimeSettings(
        home=tmp_path,
        nats_url=fresh_nats.url,
        nats_credentials=fresh_nats.seed_file,
        postgres_dsn=postgres_dsn,
        objects=str(tmp_path / "objects"),
        kek_file=tmp_path / "kek",
    )

    async def work() -> None:
        metrics = Metrics("test")
        try:
            async with host.connected(settings, {}, metrics, host.Purpose.MAINTAIN) as runtime:
                fresh_nats.kill()
                with pytest.raises(LogUnavailable):
                    await runtime.log.last_position()
                await runtime.nats.publish("unsent", b"")
                raise LogUnavailable("what went wrong")
        finally:
            metrics.close()

    with pytest.raises(LogUnavailable, match="what went wrong"):
        host.run(work())


def test_a_command_that_the_broker_does_not_answer_has_found_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit) as end, refusing():
        raise LogUnavailable("the broker gave no answer")
    assert (end.value.exit_code, capsys.readouterr().err) == (4, "the broker gave no answer\n")
