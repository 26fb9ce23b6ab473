"""Whatever is wrong around it, `rclaude` ends in one line and an exit code; never in a traceback."""

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

import forking


@pytest.fixture
def somebody_else() -> Iterator[str]:
    """An HTTP server that is not ours: it answers everything with a page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def rclaude(home: Path, *args: str, **environment: str) -> tuple[int, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("RCLAUDE_")}
    whole = {**env, "RCLAUDE_HOME": str(home), **environment}
    done = forking.run("rclaude", *args, cwd=Path.cwd(), env=whole, timeout=60)
    return done.returncode, done.stderr.decode()


def one_line(said: str) -> bool:
    return said.startswith("rclaude: ") and len(said.splitlines()) == 1


def test_a_server_that_is_not_ours_is_named(tmp_path: Path, somebody_else: str) -> None:
    code, said = rclaude(tmp_path, "list", RCLAUDE_URL=somebody_else, RCLAUDE_API_KEY="rck_x")
    assert (code, one_line(said)) == (4, True), said
    assert somebody_else in said


def test_what_cannot_be_meant_says_what_to_do(tmp_path: Path) -> None:
    where = {"RCLAUDE_URL": "http://127.0.0.1:1", "RCLAUDE_API_KEY": "rck_x"}
    for advice, command in (
        ("put a text of several words in quotes", ("run", "echo", "hi", "there")),
        ("not a task: 'nope'", ("open", "--print", "nope")),
        ("not a batch: 'batch_x'", ("batch", "batch_x")),
        ("there is no message", ("send", "task_00000000000000000000000000")),
    ):
        code, said = rclaude(tmp_path, *command, **where)
        assert (code, advice in said) == (2, True), said


@pytest.mark.parametrize("key", ["two\nlines", "ключ"])
def test_what_cannot_be_a_key_is_a_usage_error(tmp_path: Path, key: str) -> None:
    code, said = rclaude(tmp_path, "list", RCLAUDE_URL="http://127.0.0.1:1", RCLAUDE_API_KEY=key)
    assert (code, one_line(said)) == (2, True), said


@pytest.mark.parametrize("content", ["[1]", "{}", '{"pid": null}', '{"pid": "x"}', "{"])
def test_a_damaged_stack_file_is_no_stack(tmp_path: Path, content: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stack.json").write_text(content)
    code, said = rclaude(tmp_path, "list")
    assert (code, one_line(said)) == (4, True), said


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for command in (("up", "--detach"), ("config", "agent", "shell")):
        code, said = rclaude(tmp_path / "file" / "home", *command)
        assert code != 0
        assert one_line(said), said
