"""What the command line says to what it can't read."""

import re
import shlex
import socket
import subprocess
from pathlib import Path

import pytest

from product import Product
from remote_claude.cli.app import prompt_in_its_place


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
    assert error["code"] == "usage"
    assert error["detail"]


def test_what_follows_two_dashes_asks_for_no_json(tmp_path: Path) -> None:
    done = Product(tmp_path / "home").run("run", "--no-repo", "--timeout", "0", "--", "--json")
    assert (done.code, done.out) == (2, "")
    assert "Error: " in done.err


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("agent", "gpt", "claude, codex, gemini, opencode, shell, noop"),
        ("agent", "", "claude, codex, gemini, opencode, shell, noop"),
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


def test_a_damaged_configuration_names_the_file(tmp_path: Path) -> None:
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


def test_an_invalid_month_is_refused_with_a_sentence(tmp_path: Path) -> None:
    done = Product(tmp_path / "home").run("bill", "--period", "2026-00")
    assert (done.code, done.err) == (
        2,
        "rclaude: '2026-00' is not a month: write the year and the month, as 2026-11\n",
    )


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_without_a_stream_to_write_to_there_is_no_traceback(tmp_path: Path, closed: str) -> None:
    product = Product(tmp_path / "home")
    number = {"stdout": 1, "stderr": 2}[closed]
    command = " ".join([*map(shlex.quote, product.command("doctor")), f"{number}>&-"])
    done = subprocess.run(command, shell=True, env=product.env, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


def test_where_only_ascii_is_printed_the_rest_is_written_out(tmp_path: Path) -> None:
    home = tmp_path / "h\u00f6me"
    product = Product(home, {"PYTHONIOENCODING": "ascii"})
    done = product.run("doctor")
    assert (done.code, "h\\xf6me" in done.out) == (0, True)
    assert "h\u00f6me" in product.run("doctor", "--json").json[-1]["detail"]


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = Product(tmp_path / "file" / "home").run("config", "agent", "shell", cwd=tmp_path)
    assert (done.code, "Traceback" in done.err) == (2, False)
    assert f"{tmp_path / 'file' / 'home' / 'config.json'} can't be read" in done.err


@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
def test_no_proxy_leads_to_this_machine(tmp_path: Path, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = f"http://127.0.0.1:{server.getsockname()[1]}"
        elsewhere = {"RCLAUDE_URL": "http://localhost:9", "RCLAUDE_API_KEY": "rck_x", variable: proxy}
        done = Product(tmp_path / "home", elsewhere).run("list")
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert done.code == 4


def test_a_socks_proxy_gets_a_sentence(tmp_path: Path) -> None:
    elsewhere = {
        "RCLAUDE_URL": "http://rclaude.example",
        "RCLAUDE_API_KEY": "rck_x",
        "ALL_PROXY": "socks5://127.0.0.1:9",
    }
    done = Product(tmp_path / "home", elsewhere).run("list")
    assert (done.code, "HTTPS_PROXY" in done.err, "Traceback" in done.err) == (2, True, False)


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["run", "-x 2>/dev/null; echo ran"], ["run", "--", "-x 2>/dev/null; echo ran"]),
        (["run", "- fix it", "--agent", "shell"], ["run", "--agent", "shell", "--", "- fix it"]),
        (["run", "--label", "-a b=c", "fix"], ["run", "--label", "-a b=c", "fix"]),
        (["run", "--label=a=b c", "fix"], ["run", "--label=a=b c", "fix"]),
        (["run", "--", "-x y"], ["run", "--", "-x y"]),
        (["diff", "-x y"], ["diff", "-x y"]),
    ],
)
def test_a_prompt_that_begins_with_a_dash_is_a_prompt(typed: list[str], read: list[str]) -> None:
    assert prompt_in_its_place(typed) == read


def test_help_fits_60_columns(tmp_path: Path) -> None:
    product = Product(tmp_path / "home", {"COLUMNS": "60"})
    for command in ("", *re.findall(r"^  (\w+) ", product.run("--help").out, re.MULTILINE)):
        lines = product.run(*command.split(), "--help").out.splitlines()
        assert [line for line in lines if len(line) > 60] == [], command
