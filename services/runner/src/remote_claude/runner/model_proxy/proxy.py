"""The only way out of a sandbox: to the model, with a key that the sandbox never sees.

One proxy per attempt, on a unix socket of its own, outside the sandbox. It forwards the few calls that an agent
needs, puts the credential of the task in place of whatever came, passes answers on as they stream, and measures
what they used.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import httpx2
import orjson
import uvicorn
from uvicorn.server import ServerState

from remote_claude.access.model_credentials import CredentialUnusable
from remote_claude.concurrency.tasks import first_of
from remote_claude.contracts.model_prices import ModelPrices, list_prices
from remote_claude.outbound import AllowedHosts, CheckedTransport
from remote_claude.runner import unix_sockets
from remote_claude.runner.model_proxy import failures
from remote_claude.runner.model_proxy.answers import AnswerReader
from remote_claude.runner.model_proxy.apis import ModelRoute
from remote_claude.runner.model_proxy.apis.anthropic import MessagesUsage
from remote_claude.runner.model_proxy.budget import Budget, cost
from remote_claude.runner.model_proxy.call_policy import CallPolicy, NotAllowed
from remote_claude.runner.model_proxy.failures import ModelFailure
from remote_claude.runner.model_proxy.model_usage import (
    ModelCall,
    ModelUsage,
    UsageMeter,
    request_size,
)
from remote_claude.runner.model_proxy.month import Month
from remote_claude.runner.model_proxy.sandbox_requests import (
    MAX_BODY,
    BoundedModelProtocol,
    Gone,
    ModelRequestBody,
    ProxyRefusal,
    Receive,
    Scope,
    Send,
)
from remote_claude.runner.model_proxy.upstream import Upstream

MAX_IN_FLIGHT = 32
TIMEOUT = httpx2.Timeout(connect=10, read=600, write=60, pool=60)

RETRY = b"x-should-retry"
BETAS = b"anthropic-beta"
_REQUEST_HEADERS = re.compile(
    rb"accept|content-type|user-agent|x-app|openai-beta|(anthropic|x-stainless|x-claude)-.*"
)
_ANSWER_HEADERS = re.compile(
    r"content-type|retry-after(-ms)?|(x-)?request-id|x-should-retry|x-amzn-(requestid|errortype|bedrock-.*)"
    r"|anthropic-(?!organization-id).*"
)


class Unrecorded(Exception):
    """What a call uses can't be put on record, so it must not be made."""

    code = "usage_unrecorded"


async def _nowhere() -> None:
    """Keeps no record."""


class ModelProxy:
    """Listens while it is entered; `usage` can still be read after that.

    `record` puts on record what `usage` shows, and raises when it can't. It is called when a call begins and when its
    use is known: the call's last byte waits for it, and the answer's.
    """

    def __init__(
        self,
        socket: Path,
        upstream: Upstream,
        record: Callable[[], Awaitable[None]] = _nowhere,
        policy: CallPolicy | None = None,
        budget: Budget | None = None,
        outbound: AllowedHosts | None = None,
        month: Month | None = None,
        prices: ModelPrices | None = None,
    ) -> None:
        """`outbound` bounds where the upstream may be: None where the operator has named it.

        Every call is priced at `prices`, the list prices if there are none, for as long as the proxy lives.
        """
        self._socket, self._upstream, self._put_on_record = socket, upstream, record
        self._policy, self._budget, self._month = policy or CallPolicy(), budget, month
        self.failure: ModelFailure | None = None
        """Why the latest call had no whole answer; None if it had one."""
        self._meter = UsageMeter(replace(upstream.terms, prices=prices or list_prices()))
        self._revoked = asyncio.Event()
        self._in_flight = 0
        self._state = ServerState()
        self._client = httpx2.AsyncClient(
            timeout=TIMEOUT,
            verify=upstream.tls,
            limits=httpx2.Limits(max_connections=MAX_IN_FLIGHT),
            transport=CheckedTransport(outbound) if outbound is not None else None,
        )
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> ModelProxy:
        config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        config.load()
        self._server = await asyncio.get_running_loop().create_unix_server(
            lambda: BoundedModelProtocol(config, self._state, {}), unix_sockets.prepare(self._socket)
        )
        unix_sockets.open_to_sandbox(self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self.revoke()
        self._server.close()
        if self._state.tasks:
            await asyncio.wait(self._state.tasks)
        for connection in list(self._state.connections):
            connection.transport.abort()
        await self._client.aclose()
        self._socket.unlink(missing_ok=True)

    def usage(self) -> ModelUsage:
        """What has been used so far, and the calls whose answers are still coming."""
        return self._meter.usage()

    def revoke(self) -> None:
        """The attempt is over: refuse what comes, cut off what goes on."""
        self._revoked.set()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = ModelRequestBody(scope, receive)
        try:
            route = self._check(scope, body)
            self._in_flight += 1
            try:
                await self._forward(scope, route, body, send)
            finally:
                self._in_flight -= 1
        except Gone:
            return
        except ProxyRefusal as refusal:
            headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
            if refusal.status == HTTPStatus.FORBIDDEN:
                headers.append((RETRY, b"false"))
            await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
            await send({"type": "http.response.body", "body": refusal.body})

    def _check(self, scope: Scope, body: ModelRequestBody) -> ModelRoute:
        if self._revoked.is_set():
            raise ProxyRefusal(403, "permission_error", "this attempt is over")
        path = scope["raw_path"].decode("latin-1")
        route = self._upstream.api.route(scope["method"], path)
        if route is None:
            raise ProxyRefusal(
                403, "permission_error", f"{scope['method']} {path[:80]} is not allowed from a sandbox"
            )
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
            raise ProxyRefusal(400, "invalid_request_error", "both content-length and transfer-encoding")
        if body.announced > MAX_BODY:
            raise ProxyRefusal(413, "request_too_large", f"more than {MAX_BODY} bytes")
        if self._in_flight >= MAX_IN_FLIGHT:
            raise ProxyRefusal(
                429, "rate_limit_error", f"more than {MAX_IN_FLIGHT} calls at once from one task"
            )
        return route

    async def _forward(self, scope: Scope, route: ModelRoute, body: ModelRequestBody, send: Send) -> None:
        """Pass the call on and the answer back, until one side or the attempt has ended."""
        passed, _, _ = await first_of(self._pass(scope, route, body, send), body.gone(), self._revoked.wait())
        if passed is None:
            raise Gone
        passed.result()

    async def _record(self) -> None:
        try:
            await self._put_on_record()
        except Exception as error:
            raise Unrecorded(str(error)) from error

    async def _pass(self, scope: Scope, route: ModelRoute, body: ModelRequestBody, send: Send) -> None:
        sent = b"".join([piece async for piece in body])
        if self._month is not None:
            await self._month.refresh(cost(self._meter.usage().cumulative))
        call, sent = self._begin(scope, route, sent)
        recorded = asyncio.ensure_future(self._record() if call else _nowhere())
        try:
            response = await self._send(scope, sent, recorded, call)
        except BaseException as error:
            if call:
                self._meter.end(call) if call.made else self._meter.refused(call)
            if isinstance(error, Unrecorded):
                raise ProxyRefusal(503, "api_error", f"the call was not made: {error}") from error
            if isinstance(error, CredentialUnusable):
                self.failure = failures.of_credential(error)
                raise ProxyRefusal(403, "authentication_error", str(error)) from error
            if isinstance(error, httpx2.HTTPError):
                self.failure = failures.unreachable(error)
                raise ProxyRefusal(502, "api_error", f"the model cannot be reached: {error!r}") from error
            raise
        finally:
            recorded.cancel()
        if call and not response.is_success:
            self._meter.refused(call)
            call = None
        exchange = _Exchange(self._meter, self._record, response, route, call)
        try:
            await exchange.answer(send)
            self.failure = exchange.failure
        except (httpx2.HTTPError, Unrecorded) as error:
            self.failure = failures.cut()
            raise Gone from error  # what has begun cannot be refused any more
        finally:
            exchange.end()
            await response.aclose()

    def _begin(self, scope: Scope, route: ModelRoute, sent: bytes) -> tuple[ModelCall | None, bytes]:
        """Judge the call, and open it on the meter if it is one that costs. Also returns what is to be sent."""
        if scope["method"] != "POST":
            return None, sent
        try:
            request = orjson.loads(sent)
        except orjson.JSONDecodeError:
            request = None
        if isinstance(request, dict) and route.model is not None:
            request["model"] = route.model
        if not isinstance(request, dict) or not isinstance(request.get("model"), str):
            raise ProxyRefusal(400, "invalid_request_error", "the body is no JSON object that names a model")
        try:
            self._policy.check(request)
        except NotAllowed as error:
            self.failure = ModelFailure(error.code, str(error))
            raise ProxyRefusal(403, "permission_error", str(error)) from error
        if route.usage is None:
            return None, sent
        if self._budget is not None and (spent := self._budget.exhausted_by(self._meter.usage())):
            self.failure = spent
            raise ProxyRefusal(403, "permission_error", spent.detail)
        if self._month is not None and (
            spent := self._month.exhausted_by(cost(self._meter.usage().cumulative))
        ):
            self.failure = spent
            raise ProxyRefusal(403, "permission_error", spent.detail)
        size, images = request_size(sent)
        call = self._meter.begin(size, request, images)
        if self._upstream.api.complete(request):
            sent = orjson.dumps(request)
        return call, sent

    async def _send(
        self, scope: Scope, sent: bytes, recorded: asyncio.Future[None], call: ModelCall | None
    ) -> httpx2.Response:
        async def content() -> AsyncIterator[bytes]:
            yield sent[:-1]
            await asyncio.shield(recorded)  # the model does not begin before the call is on record
            if call:
                call.made = True
            yield sent[-1:]

        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        target = self._upstream.api.target(scope["raw_path"].decode("latin-1"))
        request = self._client.build_request(
            scope["method"],
            self._upstream.base_url + target + query.decode("latin-1"),
            headers=self._headers(scope, len(sent)),
            content=content() if scope["method"] == "POST" else None,
        )
        request.headers.update(await self._upstream.credential.headers(request, sent, self._client))
        return await self._client.send(request, stream=True)

    def _headers(self, scope: Scope, size: int) -> list[tuple[bytes, bytes]]:
        kept = [(name, value) for name, value in scope["headers"] if _REQUEST_HEADERS.fullmatch(name)]
        betas = b",".join(value for name, value in kept if name == BETAS)
        kept = [(name, value) for name, value in kept if name != BETAS]
        if passing := self._policy.betas(betas.decode("latin-1")):
            kept.append((BETAS, passing.encode("latin-1")))
        if scope["method"] == "POST":
            kept.append((b"content-length", str(size).encode()))
        return [*kept, (b"accept-encoding", b"identity")]


class _Exchange:
    """The answer to one call, as it passes: read, measured, put on record before its last byte."""

    def __init__(
        self,
        meter: UsageMeter,
        record: Callable[[], Awaitable[None]],
        response: httpx2.Response,
        route: ModelRoute,
        call: ModelCall | None,
    ) -> None:
        self._meter, self._record, self._response, self._call = meter, record, response, call
        self._counted = call is not None
        usage = (route.usage or MessagesUsage)(meter.terms)
        self._reader = AnswerReader(response.headers.get("content-type", ""), usage)

    async def answer(self, send: Send) -> None:
        """Pass it on."""
        response, reader = self._response, self._reader
        kept = [(k.encode(), v.encode()) for k, v in response.headers.items() if _ANSWER_HEADERS.fullmatch(k)]
        if "content-encoding" not in response.headers and "content-length" in response.headers:
            kept.append((b"content-length", response.headers["content-length"].encode()))
        if response.status_code == HTTPStatus.UNAUTHORIZED:  # the same key would be refused again
            kept = [(name, value) for name, value in kept if name != RETRY] + [(RETRY, b"false")]
        await send({"type": "http.response.start", "status": response.status_code, "headers": kept})
        held = b""  # of an answer that is not streamed, the last piece waits for its end
        async for data in response.aiter_bytes():
            reader.feed(data)
            if reader.streamed:
                if reader.final:
                    await self._settle()
                held, data = b"", data
            else:
                held, data = data, held
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await self._settle()
        if reader.streamed and not reader.ended and self._counted:
            raise httpx2.RemoteProtocolError("the answer has no end")
        await send({"type": "http.response.body", "body": held})

    async def _settle(self) -> None:
        if self._call is not None:
            self.end()
            await self._record()

    @property
    def failure(self) -> ModelFailure | None:
        """What went wrong, by the answer that has passed."""
        if not self._response.is_success:
            return failures.of_status(self._response.status_code, self._reader.body())
        return failures.of_stream(self._reader.error) if self._reader.error else None

    def end(self) -> None:
        """Count the call, whole or not."""
        if self._call is not None:
            call, self._call = self._call, None
            self._meter.end(call, self._reader.uses())
