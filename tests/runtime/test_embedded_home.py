"""One home, one stack."""

import os
import socket
import stat
from pathlib import Path

import pytest

from remote_claude.runtime.embedded import Home, HomeInUse, HomeUse, StackAlreadyRunning


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_home_is_the_environments_or_in_the_users_folder(tmp_path: Path) -> None:
    assert Home.from_env({"RCLAUDE_HOME": str(tmp_path)}).root == tmp_path
    assert Home.from_env({}).root == Path.home() / ".rclaude"
    assert Home.from_env({"RCLAUDE_HOME": ""}).root == Path.home() / ".rclaude"


def test_nobody_else_looks_into_a_home(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    with Home(tmp_path / "home") as home:
        assert mode(home.root) == (0o710 if os.geteuid() == 0 else 0o700)
        assert {mode(folder) for folder in (home.nats, home.postgres, home.log, home.run)} == {0o700}
        assert mode(home.root / "lock") == 0o600


def test_second_stack_in_a_home_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with Home(tmp_path):
        with pytest.raises(StackAlreadyRunning, match=str(os.getpid())) as refused, Home(tmp_path):
            pass
        assert refused.value.code == "stack_already_running"
    with Home(tmp_path):
        pass


@pytest.mark.parametrize("second", HomeUse)
def test_what_is_refused_while_a_command_holds_the_home_is_to_wait_for_it(
    tmp_path: Path, second: HomeUse
) -> None:
    with (
        Home(tmp_path, HomeUse.COMMAND),
        pytest.raises(HomeInUse, match=rf"process {os.getpid()}\): wait") as refused,
        Home(tmp_path, second),
    ):
        pass
    assert refused.value.code == "home_in_use"
    with Home(tmp_path), pytest.raises(StackAlreadyRunning), Home(tmp_path, HomeUse.COMMAND):
        pass


def test_ports_stay_the_same_and_differ(tmp_path: Path) -> None:
    with Home(tmp_path) as home:
        first = home.port("nats"), home.port("postgres")
    with Home(tmp_path) as home:
        assert (home.port("nats"), home.port("postgres")) == first
    assert len(set(first)) == 2


def test_port_that_somebody_took_is_replaced_for_good(tmp_path: Path) -> None:
    with Home(tmp_path) as home, socket.socket() as squatter:
        taken = home.port("nats")
        squatter.bind(("127.0.0.1", taken))
        squatter.listen()
        other = home.port("nats", patience=0)
        assert other != taken
    with Home(tmp_path) as home:
        assert home.port("nats") == other


def test_spoilt_port_file_costs_the_ports_only(tmp_path: Path) -> None:
    with Home(tmp_path) as home:
        (home.run / "ports.json").write_text("{")
        assert home.port("nats") == home.port("nats")
