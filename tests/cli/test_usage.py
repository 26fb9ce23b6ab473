"""What the command line says to what it can't read."""

from pathlib import Path

import pytest

from product import Product


@pytest.mark.parametrize(
    "args", [("--nonsense",), ("run",), ("nope",), ("list", "--limit", "0"), ("run", "--timeout", "0", "x")]
)
def test_a_usage_error_is_one_line_and_exit_code_2(tmp_path: Path, args: tuple[str, ...]) -> None:
    done = Product(tmp_path / "home").run(*args)
    assert done.code == 2
    assert "Error: " in done.err
    assert "Traceback" not in done.err


def test_help_is_shown_without_reading_the_http_library(tmp_path: Path) -> None:
    verbose = Product(tmp_path / "home", {"PYTHONVERBOSE": "1"}).run("--help")
    assert verbose.code == 0
    assert "httpx2" not in verbose.err


def test_a_damaged_configuration_says_which_file_to_mend(tmp_path: Path) -> None:
    one = Product(tmp_path / "home")
    one.home.mkdir()
    (one.home / "config.json").write_text("{not json")
    done = one.run("list")
    assert done.code == 2
    assert str(one.home / "config.json") in done.err


def test_a_setting_goes_flag_environment_file(tmp_path: Path) -> None:
    one = Product(tmp_path / "home")
    one.ok("config", "agent", "shell")
    assert one.ok("config", "agent").out.strip() == "shell"
    one.ok("config", "api_key", "rck_secretsecretsecret")
    assert "secretsecret" not in one.ok("config", "--json").out
    one.ok("config", "agent", "--unset")
    assert one.ok("config", "--json").json["agent"] is None
    assert one.run("config", "colour", "red").code == 2
