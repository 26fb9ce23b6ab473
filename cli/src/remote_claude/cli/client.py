"""Talks to the server: HTTP with patience for a lost connection, and the live stream."""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2 as httpx

from remote_claude.cli.config import Target, holder, stack_file, target
from remote_claude.cli.errors import CliError, Exit, from_problem
from remote_claude.cli.render import TERMINAL_STATES

PATIENCE_S = 20.0
"""How long to wait for a server that has answered before, or is being restarted."""
FIRST_PATIENCE_S = 2.0
"""The same for one that has never answered: its address may be wrong."""
STARTING_PATIENCE_S = 120.0
"""The same for the embedded stack of this home while it starts."""
AGAIN = (429, 503)
"""Answers after which the same is asked again, when `Retry-After` says or `AGAIN_S` later."""
AGAIN_S = 0.3
PASSING = ("slow_consumer", "rate_limited")
"""Errors of a live stream that end only the connection: it is opened again."""
LIVE_SILENCE_S = 30.0
"""A live stream without a heartbeat for so long is opened again."""


def _authorities() -> ssl.SSLContext | bool:
    """The authorities that `SSL_CERT_FILE` names, which are not read where the environment is not trusted."""
    file = os.environ.get("SSL_CERT_FILE")
    try:
        return ssl.create_default_context(cafile=file) if file else True
    except OSError as error:
        raise CliError(
            f"SSL_CERT_FILE names {file}, which can't be used ({error}): name a file of certificates, or unset it",
            Exit.USAGE,
            code="certificates_unusable",
        ) from error


class Client:
    """One server, one key."""

    def __init__(self, target: Target) -> None:
        self._patience = PATIENCE_S if target.supervised else FIRST_PATIENCE_S
        self._use(target)

    def _use(self, target: Target) -> None:
        self.target = target
        self._proxied = not is_loopback(target.url)
        try:
            self._http = httpx.Client(
                base_url=target.url,
                auth=self._authorize,
                timeout=httpx.Timeout(30.0, connect=5.0),
                trust_env=self._proxied,  # no proxy leads to this machine
                verify=True if self._proxied else _authorities(),
            )
        except (ImportError, ValueError) as error:
            raise _proxy_unusable(error) from error

    def _find_again(self) -> None:
        """The embedded stack may have come back on another port: its home says which."""
        if self.target.supervised and (found := target()) is not None and found.url != self.target.url:
            self._http.close()
            self._use(found)

    def _waits(self, since: float) -> bool:
        """Whether to try again, after `since` on the monotonic clock."""
        over = time.monotonic() - since
        if over <= self._patience:
            return True
        starting = self.target.supervised and stack_file() is None and holder() is not None
        return starting and over <= STARTING_PATIENCE_S

    def get(self, path: str, **query: Any) -> Any:
        """A JSON document. Raises `CliError`."""
        given = {key: value for key, value in query.items() if value is not None}
        return self._document(self._repeatable("GET", path, params=given))

    def post(self, path: str, body: Any = None, *, idempotency_key: str | None = None) -> Any:
        """Post JSON. It is tried again when the connection is lost: give an idempotency key where that matters."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._document(self._repeatable("POST", path, json=body, headers=headers))

    def put(self, path: str, body: Any) -> Any:
        """Put JSON. Raises `CliError`."""
        return self._document(self._repeatable("PUT", path, json=body))

    def delete(self, path: str) -> None:
        """Delete a resource. Raises `CliError`."""
        self._repeatable("DELETE", path)

    def _authorize(self, request: httpx.Request) -> httpx.Request:
        """An access token may have been replaced since the last request."""
        request.headers.update(self.target.headers())
        return request

    def has_blob(self, sha256: str) -> bool:
        """Whether an upload can be spared."""
        try:
            response = self._http.head(f"/v1/blobs/{sha256}")
        except httpx.TransportError:
            return False
        return response.status_code == httpx.codes.OK

    def put_blob(self, sha256: str, file: Path) -> None:
        """Upload a file under its hash."""
        with file.open("rb") as content:
            try:
                response = self._http.put(
                    f"/v1/blobs/{sha256}",
                    content=content,
                    headers={
                        "Content-Length": str(file.stat().st_size),
                        "Content-Type": "application/octet-stream",
                    },
                    timeout=httpx.Timeout(600.0, connect=5.0),
                )
            except httpx.TransportError as error:
                raise self._unreachable(error) from error
        _checked(response)

    def download(self, path: str) -> bytes:
        """The bytes of an object. Raises `CliError`."""
        return bytes(self._repeatable("GET", path, timeout=httpx.Timeout(600.0, connect=5.0)).content)

    def live(self, task: str, min_position: int = 0) -> Iterator[dict[str, Any]]:
        """Everything that happens to a task up to its end; a lost connection is resumed.

        The server first reads the log up to `min_position`: before that it may not know the task yet.
        """
        after: str | None = None
        lost_at: float | None = None
        while True:
            try:
                for message in self._connection(task, after, min_position):
                    lost_at = None
                    after = message.get("cursor", after)
                    yield message
                    if message["type"] == "end":
                        return
            except (OSError, EOFError, TimeoutError) as error:
                lost_at = lost_at or time.monotonic()
                if not self._waits(lost_at):
                    raise self._unreachable(error) from error
                self._find_again()
            time.sleep(0.2)

    def wait(self, task: str, timeout_s: float | None, tick: Callable[[], None]) -> dict[str, Any] | None:
        """The task once it has ended; None when the time is over first. `tick` is called at least every second."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            found: dict[str, Any] = self.get(f"/v1/tasks/{task}")
            if found["state"] in TERMINAL_STATES:
                return found
            if deadline is not None and time.monotonic() > deadline:
                return None
            tick()
            time.sleep(0.5)

    def websocket_url(self, path: str) -> str:
        """The address of a WebSocket of the server."""
        return "ws" + self.target.url.removeprefix("http") + path

    def websocket_options(self) -> dict[str, Any]:
        """How to connect to it."""
        return {
            "additional_headers": self.target.headers(),
            "max_size": 16 * 1024 * 1024,
            "proxy": True if self._proxied else None,
        }

    def _connection(self, task: str, after: str | None, min_position: int) -> Iterator[dict[str, Any]]:
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidProxy, InvalidStatus
        from websockets.sync.client import connect

        subscribe = {"type": "subscribe", "task": task, "after": after, "min_position": min_position}
        try:
            with connect(self.websocket_url("/v1/stream"), **self.websocket_options()) as socket:
                socket.send(json.dumps(subscribe))
                while True:
                    message = json.loads(socket.recv(timeout=LIVE_SILENCE_S))
                    if message["type"] == "error" and message.get("code") not in PASSING:
                        raise from_problem(message.get("status", 400), message)
                    yield message
        except (ImportError, InvalidProxy) as error:
            raise _proxy_unusable(error) from error
        except InvalidStatus as error:
            status = error.response.status_code
            if status in (502, 503, 504):
                raise EOFError(str(error)) from error
            raise from_problem(
                status, {"detail": f"the server refused the live stream ({status})"}
            ) from error
        except (ConnectionClosed, InvalidHandshake) as error:
            raise EOFError(str(error)) from error

    def _repeatable(self, method: str, path: str, **options: Any) -> httpx.Response:
        begun = time.monotonic()
        while True:
            try:
                response = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                if not self._waits(begun):
                    raise self._unreachable(error) from error
                self._find_again()
            else:
                self._patience = PATIENCE_S
                if response.status_code not in AGAIN or not self._waits(begun):
                    return _checked(response)
                pause = response.headers.get("retry-after", "")
                time.sleep(min(int(pause), PATIENCE_S) if pause.isdigit() else AGAIN_S)
                continue
            time.sleep(AGAIN_S)

    def _document(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError as error:
            raise CliError(
                f"{self.target.url} does not speak this API: is it the address of Remote Claude?",
                Exit.UNREACHABLE,
                code="not_remote_claude",
            ) from error

    def _unreachable(self, error: Exception) -> CliError:
        return CliError(
            f"{self.target.url} does not answer ({error or type(error).__name__}); look with `rclaude status`",
            Exit.UNREACHABLE,
            code="unreachable",
        )


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _proxy_unusable(error: Exception) -> CliError:
    return CliError(
        f"the proxy of this environment can't be used ({error}): set HTTPS_PROXY to an http:// proxy in place of ALL_PROXY, "
        "or the server's name in NO_PROXY",
        Exit.USAGE,
        code="proxy_unusable",
    )


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    try:
        document = response.json()
    except ValueError:
        document = {}
    raise from_problem(response.status_code, document if isinstance(document, dict) else {})
