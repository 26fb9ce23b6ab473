"""A server that is busy for a moment, or that limits requests: the command waits as long as it says, and asks again."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from remote_claude.cli.client import CliClient
from remote_claude.cli.config import Target

Answer = tuple[int, dict[str, str]]
BUSY: Answer = 503, {"Retry-After": "1"}
LIMITED: Answer = 429, {"Retry-After": "1"}


@contextmanager
def answering(answers: list[Answer], keys: list[str | None]) -> Iterator[str]:
    """A server that gives these answers in turn, and notes the idempotency key of each request."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            keys.append(self.headers["idempotency-key"])
            status, headers = answers.pop(0)
            body = json.dumps({"id": "task_1", "detail": "busy", "code": "stale"}).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("refusal", [BUSY, LIMITED])
def test_a_submission_that_a_busy_server_refuses_is_sent_again_under_its_key(refusal: Answer) -> None:
    keys: list[str | None] = []
    with answering([refusal, (201, {})], keys) as url:
        answer = CliClient(Target(url, "rck_made_up")).post("/v1/tasks", {}, idempotency_key="one")
    assert answer["id"] == "task_1"
    assert keys == ["one", "one"]
