"""Whatever is wrong around it, `rclaude-admin` ends in its words and an exit code; never in a traceback."""

import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from product import Done, Product, environment_of
from remote_claude.access.kek import create_kek
from servers import Database, empty_nats, until

AWAY = {"RCLAUDE_NATS_URL": "nats://127.0.0.1:9"}


@pytest.fixture(scope="module")
def log(postgres_server: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A log of a few events on servers of its own, without any service."""
    home = tmp_path_factory.mktemp("admin") / "home"
    home.mkdir()
    create_kek(home / "kek")
    with empty_nats() as broker, postgres_server.fresh() as dsn:
        one = Product(home, environment_of(home, broker, dsn))
        for command in (("broker", "init"), ("org", "create", "Acme")):
            done = one.admin(*command)
            assert done.code == 0, done.err
        yield one


def one_line(done: Done) -> bool:
    return len(done.err.splitlines()) == 1 and "Traceback" not in done.err


def test_reading_past_the_end_says_where_the_log_ends(log: Product) -> None:
    last = log.events()[-1]["position"]
    done = log.admin("log", "read", "--from", "9999")
    assert (done.code, done.err) == (2, f"the log ends at {last}\n")
    done = log.admin("log", "read", "--from", "9999", "--json")
    assert (done.code, done.json) == (2, {"error": {"code": "refused", "detail": f"the log ends at {last}"}})
    assert log.events("--from", str(last + 1)) == []


@pytest.mark.parametrize("subject", ["ev..x", "a b", "ev.", "", "ev.>.x", "ev.a>", "out.x"])
def test_what_is_no_subject_is_said_at_once(tmp_path: Path, subject: str) -> None:
    done = Product(tmp_path, AWAY).admin("log", "read", "--subject", subject)
    assert (done.code, "not a subject of the log" in done.err) == (2, True), done.err


@pytest.mark.parametrize("subject", ["ev", "*", ">", "ev.>", "ev.users.*.org.>", "ev.*.x"])
def test_every_pattern_of_subjects_is_read(log: Product, subject: str) -> None:
    assert all(event["subject"].startswith("ev.") for event in log.events("--subject", subject))


def test_an_unknown_type_is_refused_with_those_near_it(tmp_path: Path) -> None:
    for command in (("log", "read"), ("log", "tail")):
        done = Product(tmp_path, AWAY).admin(*command, "--type", "TaskSuceeded", "--json")
        assert (done.code, done.json["error"]["code"]) == (2, "usage")
        assert "TaskSucceeded" in done.json["error"]["detail"]


def test_a_range_that_ends_before_it_begins_is_refused(tmp_path: Path) -> None:
    for command in (("read",), ("export", "file")):
        done = Product(tmp_path, AWAY).admin("log", *command, "--from", "10", "--until", "5")
        assert (done.code, "--until 5 is before --from 10" in done.err) == (2, True), done.err


def test_a_broker_that_is_not_there_is_named_after_some_seconds(log: Product, tmp_path: Path) -> None:
    away = Product(log.home, {**log.environment, **AWAY})
    with ThreadPoolExecutor(2) as at_once:  # each waits for ten seconds
        init = at_once.submit(Product(tmp_path, AWAY).admin, "broker", "init")
        views = at_once.submit(away.admin, "views", "--json")
    done = init.result()
    assert (done.code, one_line(done), AWAY["RCLAUDE_NATS_URL"] in done.err) == (4, True, True), done.err
    done = views.result()
    assert (done.code, done.json["error"]["code"]) == (4, "broker_unreachable"), done.err
    assert one_line(done)


@pytest.mark.parametrize("place", ["file", "file/seeds"])
def test_a_folder_of_seeds_that_cannot_be_is_said(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    done = Product(tmp_path / "home").admin("broker", "accounts", str(tmp_path / place))
    assert (done.code, done.out, one_line(done)) == (2, "", True), done.err
    assert str(tmp_path / place) in done.err


def test_a_home_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = Product(tmp_path / "file" / "home").run("views", program="rclaude-admin", cwd=tmp_path)
    assert (done.code, one_line(done)) == (2, True), done.err


@pytest.mark.parametrize(
    "command", [("views", "--nonsense"), ("nope",), ("log", "read", "--from", "0"), ("key", "issue")]
)
def test_with_json_every_usage_error_is_an_object(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = Product(tmp_path).admin(*command, "--json")
    assert (done.code, done.json["error"]["code"]) == (2, "usage")
    assert done.json["error"]["detail"] in done.err
    plain = Product(tmp_path).admin(*command)
    assert (plain.code, plain.out, "Error: " in plain.err) == (2, "", True)


def test_with_json_a_stack_that_is_down_is_an_object(tmp_path: Path) -> None:
    done = Product(tmp_path).admin("views", "--json")
    assert (done.code, done.json["error"]["code"]) == (4, "not_running")
    assert done.err == done.json["error"]["detail"] + "\n"


def test_a_restore_without_the_secrets_asks_for_them(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for command in (("log", "restore"), ("log", "import", str(tmp_path / "file"))):
        done = Product(tmp_path).admin(*command)
        assert (done.code, "unpack the secrets of the backup" in done.err) == (4, True), done.err


def test_what_postgresql_refuses_is_a_sentence(log: Product) -> None:
    dsn = log.environment["RCLAUDE_POSTGRES_DSN"]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA users_directory")
        connection.execute("CREATE TABLE users_directory.checkpoint (nothing int)")
        try:
            done = log.admin("views", "--json")
        finally:
            connection.execute("DROP SCHEMA users_directory CASCADE")
    assert (done.code, done.json["error"]["code"]) == (2, "postgres_error"), done.err
    assert "Traceback" not in done.err


def test_a_broker_that_lacks_a_stream_is_a_sentence(tmp_path: Path, postgres_server: Database) -> None:
    home = tmp_path / "home"
    home.mkdir()
    create_kek(home / "kek")
    with empty_nats() as broker, postgres_server.fresh() as dsn:
        one = Product(home, environment_of(home, broker, dsn))
        assert one.admin("log", "restore").code == 2  # it has made the log, and no bucket of keys
        done = one.admin("org", "create", "Acme")
    assert (done.code, one_line(done), "the broker" in done.err) == (4, True, True), done.err


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[31mred", "a\u2028b", " ", ""])
def test_a_name_is_one_line_of_text(tmp_path: Path, name: str) -> None:
    done = Product(tmp_path, AWAY).admin("org", "create", name)
    assert (done.code, "one line of text" in done.err) == (2, True), done.err


def test_a_key_is_issued_to_members_only(log: Product) -> None:
    one, other = (log.admin("org", "create", name).out.split() for name in ("One", "Other"))
    done = log.admin("key", "issue", one[0], other[1])
    assert (done.code, done.err) == (2, f"{other[1]} is not a member of {one[0]}\n")
    assert log.admin("key", "issue", *one).code == 0


def test_the_archive_is_among_the_views(log: Product) -> None:
    done = log.admin("views", "--json")
    *views, archive = done.json
    assert {row["kind"] for row in views} == {"view"}
    lag = log.events()[-1]["position"]
    assert archive == {
        "name": "archive", "kind": "archive", "position": 0, "lag": lag, "version": None, "parked": 0,
    }  # fmt: skip
    narrow = Product(log.home, {**log.environment, "COLUMNS": "60"}).admin("views")
    assert [len(line) <= 60 for line in narrow.out.splitlines()] == [True] * (
        1 + len(done.json)
    )  # and the header


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("log", "import", "missing"), "'missing' does not exist"),
        (("log", "trim", "--backed-up", "nope", "--to", "1"), "'nope' does not exist"),
        (("log", "trim", "--backed-up", __file__), "one of --to and --before"),
        (("log", "trim", "--backed-up", __file__, "--before", "2020-01-01"), "occurred before 2020-01-01"),
        (("log", "export", "nope/x.gz"), "nothing has been archived yet"),
        (("log", "import", __file__), f"{__file__} is no export of a log"),
        (("log", "restore"), "nothing was missing"),
        (("parked", "retry", "users_directory", "--all"), "not both"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_files_and_choices_that_cannot_be_are_named_as_typed(
    log: Product, command: tuple[str, ...], said: str
) -> None:
    done = log.admin(*command)
    assert (done.code, "Traceback" in done.err) == (0 if command[1] == "restore" else 2, False), done.err
    assert said in done.out + done.err


def test_when_nobody_reads_on_it_says_nothing(log: Product) -> None:
    command = log.command("log", "read", "--json", program="rclaude-admin")
    with subprocess.Popen(command, env=log.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.close()
        assert running.stderr is not None
        said = running.stderr.read()
    assert (running.returncode, said) == (141, b"")


@pytest.mark.parametrize("module", ["typer", "remote_claude.contracts", "psycopg"])
def test_an_interrupt_while_modules_are_read_is_silent(tmp_path: Path, module: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED.format(module=module))
    command = Product(tmp_path).command("views", program="rclaude-admin")
    environment = {**Product(tmp_path).env, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


INTERRUPTED = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == "{module}":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
"""


def test_an_interrupt_ends_the_tail_in_silence(log: Product, tmp_path: Path) -> None:
    command = log.command("log", "tail", "--json", program="rclaude-admin")
    shown = tmp_path / "shown"

    def follows() -> bool:
        assert log.admin("org", "create", "Another").code == 0
        return shown.stat().st_size > 0

    with (
        shown.open("wb") as out,
        subprocess.Popen(command, env=log.env, stdout=out, stderr=subprocess.PIPE) as running,
    ):
        until(follows, "an event", 60)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert (running.returncode, said) == (130, b"")
