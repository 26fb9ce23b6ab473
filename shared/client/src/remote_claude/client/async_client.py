"""The client for asyncio: the same as the synchronous one, awaited."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Mapping
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
CHUNK = 1024 * 1024


class AsyncClient:
    """One server and a credential. `call` does every operation of `operations`."""

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
        self._refreshing = asyncio.Lock()
        self.url = url.rstrip("/")
        try:
            self._http = httpx.AsyncClient(**connecting.http_options(self.url))
        except (ImportError, ValueError) as error:
            raise connecting.proxy_unusable(error) from error

    @classmethod
    def from_environment(cls) -> Self:
        """As `RCLAUDE_URL` and `RCLAUDE_API_KEY` say; otherwise the embedded stack. Raises `NotConfigured`."""
        url, key = connecting.from_environment()
        return cls(url, api_key=key)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def call(self, call: Call[Answer]) -> Answer:
        """Do one operation. Raises `ApiError`, `Unreachable`, `UnexpectedAnswer`."""
        answer: Answer = call.decode(await self._exchange(call, await self.headers()))
        return answer

    async def headers(self) -> Mapping[str, str]:
        """The headers with the credential; tokens are refreshed first where they are about to expire."""
        if self._credentials is None:
            return {}
        async with self._refreshing:
            if (due := self._credentials.due()) is not None:
                self._credentials.take(due.decode(await self._exchange(due, {})))
        return self._credentials.headers()

    async def submit(self, prompt: str, **task: Unpack[submitting.TaskOptions]) -> AsyncTask:
        """Submit a task. A retry after a lost connection makes no second task: the request has an idempotency key."""
        submitted = await self.call(submitting.submission(prompt, task))
        return AsyncTask(self, submitted["id"], submitted["position"])

    def task(self, id: str) -> AsyncTask:
        """A task by its id."""
        return AsyncTask(self, id)

    async def list_tasks(self, **filters: Unpack[submitting.Filters]) -> AsyncIterator[TaskSummary]:
        """All tasks that match, newest first, page by page."""
        cursor: str | None = None
        while True:
            page = await self.call(operations.list_tasks(**filters, cursor=cursor))
            for task in page["tasks"]:
                yield task
            if (cursor := page["next"]) is None:
                return

    async def upload(self, file: Path) -> str:
        """Upload a file, unless the server has it, for a submission to name. Its SHA-256."""
        sha256 = await asyncio.to_thread(_sha256, file)
        if not await self.has_blob(sha256):
            await self.call(operations.put_blob(sha256, file))
        return sha256

    async def has_blob(self, sha256: str) -> bool:
        """Whether the server has what has this SHA-256."""
        try:
            await self.call(operations.head_blob(sha256))
        except NotFound:
            return False
        return True

    async def stream(
        self, task: str, *, after: str | None = None, min_position: int = 0
    ) -> AsyncIterator[Message]:
        """Everything that happens to a task up to its end. A lost connection is resumed: no gap, and nothing twice.

        `after` is the cursor of the last output that you have. The server first reads the log up to `min_position`.
        """
        lost_at: float | None = None
        while True:
            try:
                async for message in self._messages(task, after, min_position):
                    lost_at = None
                    after = message.get("cursor", after)
                    yield message
                    if message["type"] == "end":
                        return
            except (OSError, EOFError, TimeoutError) as error:
                lost_at = lost_at or time.monotonic()
                if not self.retry.goes_on(time.monotonic() - lost_at):
                    raise Unreachable(self.url, error) from error
            await asyncio.sleep(stream.PAUSE_S)

    async def _messages(self, task: str, after: str | None, min_position: int) -> AsyncIterator[Any]:
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidProxy, InvalidStatus

        options = {"additional_headers": await self.headers(), **connecting.websocket_options(self.url)}
        try:
            async with connect("ws" + self.url.removeprefix("http") + stream.PATH, **options) as socket:
                self.retry.answered()
                await socket.send(stream.subscription(task, after, min_position))
                while True:
                    async with asyncio.timeout(stream.SILENCE_S):
                        text = await socket.recv()
                    yield stream.received(text)
        except (ImportError, InvalidProxy) as error:
            raise connecting.proxy_unusable(error) from error
        except InvalidStatus as error:
            if error.response.status_code in stream.RETRIED:
                raise EOFError(str(error)) from error
            raise stream.refused(error.response.status_code) from error
        except (ConnectionClosed, InvalidHandshake) as error:
            raise EOFError(str(error)) from error

    async def _exchange(self, call: Call[Any], headers: Mapping[str, str]) -> httpx.Response:
        steps = exchange(call, self.url, self.retry, headers)
        outcome: httpx.Response | httpx.TransportError | None = None
        try:
            while True:
                step = steps.send(outcome)
                if isinstance(step, float):
                    await asyncio.sleep(step)
                    outcome = None
                else:
                    outcome = await self._request(step)
        except StopIteration as done:
            response: httpx.Response = done.value
            return response

    async def _request(self, options: Mapping[str, Any]) -> httpx.Response | httpx.TransportError:
        if isinstance(file := options.get("content"), Path):
            options = {**options, "content": _chunks(file)}
        try:
            return await self._http.request(**options)
        except httpx.TransportError as error:
            return error


class AsyncTask:
    """A task of a client. `position` is that of its submission or of its last change that was seen, otherwise 0."""

    def __init__(self, client: AsyncClient, id: str, position: int = 0) -> None:
        self._client, self.id, self.position = client, id, position

    async def get(self) -> TaskAnswer:
        """The task as it is now."""
        return await self._client.call(operations.get_task(self.id, min_position=self.position or None))

    async def stream(self, *, after: str | None = None) -> AsyncIterator[Message]:
        """See `AsyncClient.stream`. Later reads of the task are no older than what was streamed."""
        async for message in self._client.stream(self.id, after=after, min_position=self.position):
            if message["type"] == "state":
                self.position = max(self.position, message["position"])
            yield message

    async def output(self) -> AsyncIterator[OutputFrame]:
        """What the agent does, frame by frame, up to the end of the task."""
        async for message in self.stream():
            if message["type"] == "output":
                for frame in message["frames"]:
                    yield frame

    async def wait(self) -> TaskAnswer:
        """The task once it has ended. Bound it with `asyncio.timeout`."""
        while True:
            found = await self._client.call(operations.get_task(self.id, wait=submitting.WAIT_S))
            if found["state"] in submitting.ENDED:
                return found

    async def cancel(self) -> None:
        """Request its cancellation."""
        await self._client.call(operations.cancel_task(self.id))

    async def send(self, text: str) -> None:
        """Send the agent a message; it takes it after its current turn."""
        await self._client.call(operations.send_message(self.id, {"text": text}))

    async def diff(self) -> str:
        """The result as a patch."""
        return (await self._client.call(operations.get_task_diff(self.id))).decode(errors="replace")

    async def bundle(self) -> bytes:
        """The result as a Git bundle with the branch `rclaude/<id>`."""
        return await self._client.call(operations.get_task_bundle(self.id))

    async def artifacts(self) -> bytes:
        """The files that the agent left in `$RCLAUDE_ARTIFACTS`, as a tar archive."""
        return await self._client.call(operations.get_task_artifacts(self.id))


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


async def _chunks(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as opened:  # each read is done in a thread
        while chunk := await asyncio.to_thread(opened.read, CHUNK):
            yield chunk
