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


@pytest.mark.parametrize(
    "args", [("list", "--json", "--nonsense"), ("nope", "--json"), ("run", "--json"), ("show", "--json", "x")]
)
def test_with_json_every_usage_error_is_an_object(tmp_path: Path, args: tuple[str, ...]) -> None:
    elsewhere = {"RCLAUDE_URL": "http://127.0.0.1:9", "RCLAUDE_API_KEY": "rck_x"}
    done = Product(tmp_path / "home", elsewhere).run(*args)
    assert done.code == 2
    error = done.json["error"]
    assert error["detail"] in done.err
    assert error["code"] in ("usage", "error")
    assert error["detail"]


def test_what_follows_two_dashes_asks_for_no_json(tmp_path: Path) -> None:
    done = Product(tmp_path / "home").run("run", "--no-repo", "--timeout", "0", "--", "--json")
    assert (done.code, done.out) == (2, "")
    assert "Error: " in done.err


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("agent", "gpt", "claude, shell, noop"),
        ("agent", "", "claude, shell, noop"),
        ("api_key", "rck_short", "rck_ and 38"),
        ("api_key", "sk-ant-0123456789", "rck_ and 38"),
        ("url", "example.com", "https://"),
        ("url", "ftp://example.com", "https://"),
        ("url", "https://", "https://"),
        ("colour", "red", "url, api_key, agent"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_what_can(
    tmp_path: Path, key: str, value: str, says: str
) -> None:
    one = Product(tmp_path / "home")
    done = one.run("config", key, value)
    assert done.code == 2
    assert says in done.err
    assert not (one.home / "config.json").exists()


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
    one.ok("config", "api_key", "rck_" + "secret" * 6 + "aa")
    assert "secretsecret" not in one.ok("config", "--json").out
    one.ok("config", "agent", "--unset")
    assert one.ok("config", "--json").json["agent"] is None
    assert one.run("config", "colour", "red").code == 2
