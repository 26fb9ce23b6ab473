"""The synchronous client."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx2 as httpx

from remote_claude.client import connecting, operations, stream, submitting
from remote_claude.client.calls import Call
from remote_claude.client.credentials import ApiKey, Credentials
from remote_claude.client.errors import NotFound, Unreachable
from remote_claude.client.models import OutputFrame, TaskAnswer, TaskSummary
from remote_claude.client.retrying import Retry, exchange
from remote_claude.client.stream import Message

Answer = TypeVar("Answer")


class Client:
    """One server and a credential. Threads may share it. `call` does every operation of `operations`."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        credentials: Credentials | None = None,
        retry: Retry | None = None,
    ) -> None:
        """Give an `api_key`, or other `credentials`; without either, requests have no credential. Raises `Unusable`."""
        self.retry = retry or Retry()
        self._credentials = credentials or (ApiKey(api_key) if api_key else None)
        self._refreshing = threading.Lock()
        self._connect(url.rstrip("/"))

    @classmethod
    def from_environment(cls) -> Self:
        """As `RCLAUDE_URL` and `RCLAUDE_API_KEY` say; otherwise the embedded stack. Raises `NotConfigured`."""
        url, key = connecting.from_environment()
        return cls(url, api_key=key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def call(self, call: Call[Answer]) -> Answer:
        """Do one operation. Raises `ApiError`, `Unreachable`, `UnexpectedAnswer`."""
        answer: Answer = call.decode(self._exchange(call, self.headers()))
        return answer

    def headers(self) -> Mapping[str, str]:
        """The headers with the credential; tokens are refreshed first where they are about to expire."""
        if self._credentials is None:
            return {}
        with self._refreshing:
            if (due := self._credentials.due()) is not None:
                self._credentials.take(due.decode(self._exchange(due, {})))
        return self._credentials.headers()

    # tasks

    def submit(self, prompt: str, **task: Unpack[submitting.TaskOptions]) -> Task:
        """Submit a task. A retry after a lost connection makes no second task: the request has an idempotency key."""
        submitted = self.call(submitting.submission(prompt, task))
        return Task(self, submitted["id"], submitted["position"])

    def task(self, id: str) -> Task:
        """A task by its id."""
        return Task(self, id)

    def list_tasks(self, **filters: Unpack[submitting.Filters]) -> Iterator[TaskSummary]:
        """All tasks that match, newest first, page by page."""
        cursor: str | None = None
        while True:
            page = self.call(operations.list_tasks(**filters, cursor=cursor))
            yield from page["tasks"]
            if (cursor := page["next"]) is None:
                return

    def upload(self, file: Path) -> str:
        """Upload a file, unless the server has it, for a submission to name. Its SHA-256."""
        with file.open("rb") as opened:
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        if not self.has_blob(sha256):
            self.call(operations.put_blob(sha256, file))
        return sha256

    def has_blob(self, sha256: str) -> bool:
        """Whether the server has what has this SHA-256."""
        try:
            self.call(operations.head_blob(sha256))
        except NotFound:
            return False
        return True

    # the live stream

    def stream(self, task: str, *, after: str | None = None, min_position: int = 0) -> Iterator[Message]:
        """Everything that happens to a task up to its end. A lost connection is resumed: no gap, and nothing twice.

        `after` is the cursor of the last output that you have. The server first reads the log up to `min_position`.
        """
        lost_at: float | None = None
        while True:
            try:
                for message in self._messages(task, after, min_position):
                    lost_at = None
                    after = message.get("cursor", after)
                    yield message
                    if message["type"] == "end":
                        return
            except (OSError, EOFError, TimeoutError) as error:
                lost_at = lost_at or time.monotonic()
                if not self.retry.goes_on(time.monotonic() - lost_at):
                    raise Unreachable(self.url, error) from error
                self._follow()
            time.sleep(stream.PAUSE_S)

    def websocket_url(self, path: str) -> str:
        """The address of a WebSocket of the server."""
        return "ws" + self.url.removeprefix("http") + path

    def websocket_options(self) -> dict[str, Any]:
        """How to connect to it, as the library websockets takes it."""
        return {"additional_headers": self.headers(), **connecting.websocket_options(self.url)}

    def _messages(self, task: str, after: str | None, min_position: int) -> Iterator[Any]:
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidProxy, InvalidStatus
        from websockets.sync.client import connect

        try:
            with connect(self.websocket_url(stream.PATH), **self.websocket_options()) as socket:
                self.retry.answered()
                socket.send(stream.subscription(task, after, min_position))
                while True:
                    yield stream.received(socket.recv(timeout=stream.SILENCE_S))
        except (ImportError, InvalidProxy) as error:
            raise connecting.proxy_unusable(error) from error
        except InvalidStatus as error:
            if error.response.status_code in stream.RETRIED:
                raise EOFError(str(error)) from error
            raise stream.refused(error.response.status_code) from error
        except (ConnectionClosed, InvalidHandshake) as error:
            raise EOFError(str(error)) from error

    def _connect(self, url: str) -> None:
        self.url = url
        try:
            self._http = httpx.Client(**connecting.http_options(url))
        except (ImportError, ValueError) as error:
            raise connecting.proxy_unusable(error) from error

    def _follow(self) -> None:
        """Use the server's present address."""
        if (url := self.retry.new_address()) is not None and url != self.url:
            self._http.close()
            self._connect(url)

    def _exchange(self, call: Call[Any], headers: Mapping[str, str]) -> httpx.Response:
        steps = exchange(call, self.url, self.retry, headers)
        outcome: httpx.Response | httpx.TransportError | None = None
        try:
            while True:
                step = steps.send(outcome)
                if isinstance(step, float):
                    time.sleep(step)
                    self._follow()
                    outcome = None
                else:
                    outcome = self._request(step)
        except StopIteration as done:
            response: httpx.Response = done.value
            return response

    def _request(self, options: Mapping[str, Any]) -> httpx.Response | httpx.TransportError:
        with ExitStack() as opened:
            if isinstance(file := options.get("content"), Path):
                options = {**options, "content": opened.enter_context(file.open("rb"))}
            try:
                return self._http.request(**options)
            except httpx.TransportError as error:
                return error


class Task:
    """A task of a client. `position` is that of its submission or of its last change that was seen, otherwise 0."""

    def __init__(self, client: Client, id: str, position: int = 0) -> None:
        self._client, self.id, self.position = client, id, position

    def get(self) -> TaskAnswer:
        """The task as it is now."""
        return self._client.call(operations.get_task(self.id, min_position=self.position or None))

    def stream(self, *, after: str | None = None) -> Iterator[Message]:
        """See `Client.stream`. Later reads of the task are no older than what was streamed."""
        for message in self._client.stream(self.id, after=after, min_position=self.position):
            if message["type"] == "state":
                self.position = max(self.position, message["position"])
            yield message

    def output(self) -> Iterator[OutputFrame]:
        """What the agent does, frame by frame, up to the end of the task."""
        for message in self.stream():
            if message["type"] == "output":
                yield from message["frames"]

    def wait(
        self, timeout_s: float | None = None, tick: Callable[[], None] | None = None
    ) -> TaskAnswer | None:
        """The task once it has ended; None when the time is over first. `tick` is called about every second."""
        step = submitting.WAIT_S if tick is None else 1
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = step if deadline is None else max(0, min(step, math.ceil(deadline - time.monotonic())))
            found = self._client.call(operations.get_task(self.id, wait=left))
            if found["state"] in submitting.ENDED:
                return found
            if deadline is not None and time.monotonic() >= deadline:
                return None
            if tick is not None:
                tick()

    def cancel(self) -> None:
        """Request its cancellation."""
        self._client.call(operations.cancel_task(self.id))

    def send(self, text: str) -> None:
        """Send the agent a message; it takes it after its current turn."""
        self._client.call(operations.send_message(self.id, {"text": text}))

    def diff(self) -> str:
        """The result as a patch."""
        return self._client.call(operations.get_task_diff(self.id)).decode(errors="replace")

    def bundle(self) -> bytes:
        """The result as a Git bundle with the branch `rclaude/<id>`."""
        return self._client.call(operations.get_task_bundle(self.id))

    def artifacts(self) -> bytes:
        """The files that the agent left in `$RCLAUDE_ARTIFACTS`, as a tar archive."""
        return self._client.call(operations.get_task_artifacts(self.id))
