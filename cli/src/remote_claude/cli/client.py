"""Talks to the server with the Python SDK: what it raises becomes a `CliError`, and a stack that restarts is waited for."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from remote_claude.cli.config import Target, holder, stack_file, target
from remote_claude.cli.errors import CliError, Exit, from_problem
from remote_claude.cli.render import TERMINAL_STATES
from remote_claude.client import errors, operations
from remote_claude.client.calls import Call, as_bytes, as_json, nothing
from remote_claude.client.credentials import Credentials
from remote_claude.client.models import TokenAnswer
from remote_claude.client.retrying import Retry
from remote_claude.client.sync_client import Client as Api

Answer = TypeVar("Answer")
LONG_POLL_S = 20.0
"""How long one request waits for the server; shorter than the time-outs of clients and proxies."""
LIVE_SILENCE_S = 30.0
"""A live stream without a heartbeat for so long is opened again."""
RECONNECT_S = 0.5
STARTING_PATIENCE_S = 120.0
"""How long to wait for the embedded stack of this home while it starts."""
NOT_OURS = (404, 405, 501)
"""Refusals that Remote Claude never makes without a problem document; a proxy before it may make the others."""


class _Where(Retry, Credentials):
    """Where the server is, who asks, and how long to wait for it. A stack may come back on another port."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target
        self._start_seen_s = 0.0
        if target.supervised:
            self.answered()

    def goes_on(self, waited_s: float) -> bool:
        if self.target.supervised and stack_file() is None and holder() is not None:
            self._start_seen_s = waited_s
            return waited_s <= STARTING_PATIENCE_S
        return super().goes_on(waited_s - self._start_seen_s)  # what has started gets as long as any other

    def answered(self) -> None:
        super().answered()
        self._start_seen_s = 0.0

    def new_address(self) -> str | None:
        if self.target.supervised and (found := target()) is not None:
            self.target = found
        return self.target.url

    def headers(self) -> Mapping[str, str]:
        return self.target.headers()

    def due(self) -> Call[TokenAnswer] | None:
        return None

    def take(self, answer: TokenAnswer) -> None: ...


class CliClient:
    """One server, one key. Every method raises `CliError`."""

    def __init__(self, target: Target) -> None:
        self._where = _Where(target)
        with translated():
            self._api = Api(target.url, credentials=self._where, retry=self._where)

    @property
    def target(self) -> Target:
        """The server as it was found last."""
        return self._where.target

    def call(self, call: Call[Answer]) -> Answer:
        """Do one operation of `remote_claude.client.operations`."""
        with translated():
            return self._api.call(call)

    def get(self, path: str, **query: Any) -> Any:
        """A JSON document."""
        return self.call(Call[Any]("GET", path, as_json, query=query))

    def post(self, path: str, body: Any = None, *, idempotency_key: str | None = None) -> Any:
        """Post JSON. It is tried again when the connection is lost: give an idempotency key where that matters."""
        headers = {"Idempotency-Key": idempotency_key}
        return self.call(Call[Any]("POST", path, as_json, headers=headers, json=body, repeatable=True))

    def put(self, path: str, body: Any) -> Any:
        """Put JSON."""
        return self.call(Call[Any]("PUT", path, as_json, json=body))

    def delete(self, path: str) -> None:
        """Delete a resource."""
        self.call(Call[None]("DELETE", path, nothing))

    def has_blob(self, sha256: str) -> bool:
        """Whether an upload can be spared."""
        with translated():
            return self._api.has_blob(sha256)

    def put_blob(self, sha256: str, file: Path) -> None:
        """Upload a file under its hash."""
        self.call(operations.put_blob(sha256, file))

    def download(self, path: str) -> bytes:
        """The bytes of an object."""
        return self.call(Call[bytes]("GET", path, as_bytes))

    def live(self, task: str, min_position: int = 0) -> Iterator[dict[str, Any]]:
        """Everything that happens to a task up to its end; a lost connection is resumed.

        The server first reads the log up to `min_position`: before that it may not know the task yet.
        """
        with translated():
            for message in self._api.stream(task, min_position=min_position):
                yield dict(message)

    def wait(self, task: str, timeout_s: float | None) -> dict[str, Any] | None:
        """The task once it has ended; None when the time is over first."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = LONG_POLL_S if deadline is None else min(LONG_POLL_S, deadline - time.monotonic())
            found: dict[str, Any] = self.get(f"/v1/tasks/{task}", wait=math.ceil(max(0.0, left)))
            if found["state"] in TERMINAL_STATES:
                return found
            if deadline is not None and time.monotonic() >= deadline:
                return None

    def next_change(self, task: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The task when it has changed, or after so many seconds, at most `LONG_POLL_S`."""
        wait = math.ceil(min(seconds, LONG_POLL_S))
        found: dict[str, Any] = self.get(f"/v1/tasks/{task['id']}", wait=wait, changed=task["changed"])
        return found

    def changes(self) -> Iterator[int | None]:
        """Once at first, then whenever tasks or batches of the organisation have changed, and after a lost connection.

        Each time the position of the change, None after a lost connection.
        """
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        while True:
            try:
                with connect(self.websocket_url("/v1/stream"), **self.websocket_options()) as socket:
                    socket.send(json.dumps({"type": "follow"}))
                    while True:
                        message = json.loads(socket.recv(timeout=LIVE_SILENCE_S))
                        if message["type"] in ("changed", "batch"):
                            yield int(message["position"])
            except (OSError, EOFError, TimeoutError, WebSocketException):
                time.sleep(RECONNECT_S)
            yield None  # the caller's next request says what is wrong

    def websocket_url(self, path: str) -> str:
        """The address of a WebSocket of the server."""
        return self._api.websocket_url(path)

    def websocket_options(self) -> dict[str, Any]:
        """How to connect to it."""
        return self._api.websocket_options()


@contextmanager
def translated() -> Iterator[None]:
    """Errors of the SDK as those of the CLI."""
    try:
        yield
    except errors.ApiError as error:
        if not error.document and error.status in NOT_OURS:
            message = (
                f"the server answered {error.status} without a reason: is its address that of Remote Claude?"
            )
            raise CliError(message, Exit.UNREACHABLE, code="not_remote_claude") from error
        raise from_problem(error.status, dict(error.document)) from error
    except errors.Unreachable as error:
        raise CliError(
            f"{error}; look with `rclaude status`", Exit.UNREACHABLE, code="unreachable"
        ) from error
    except errors.UnexpectedAnswer as error:
        raise CliError(str(error), Exit.UNREACHABLE, code="not_remote_claude") from error
    except errors.Unusable as error:
        raise CliError(str(error), Exit.USAGE, code=error.code) from error


def unsigned(url: str, call: Call[Answer]) -> Answer:
    """Do one operation of a server at which nobody is signed in. Raises `CliError`."""
    with translated():
        api = Api(url)
        try:
            return api.call(call)
        except errors.ApiError as error:
            exit = Exit.UNREACHABLE if isinstance(error, errors.ServerError) else Exit.REFUSED
            raise CliError(error.detail, exit, code=error.code) from error
        finally:
            api.close()
