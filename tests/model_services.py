"""The other model services, as doubles that play the same scripted turns as `messages_api`: OpenAI, Bedrock, Vertex, Gemini.

What they answer is parsed by the vendors' own clients in `test_model_services.py`; Bedrock's signatures are recomputed by
botocore, Google's assertion is verified.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from messages_api import MessagesApi, Turn

AWS_KEY, AWS_SECRET = "AKIA" + "MADEUPFORTESTS01", "made/up/secret/of/this/test/0123456789ab"
REGION, PROJECT = "us-east-1", "made-up-project"
GOOGLE_KEY = RSAKey.generate_key(2048)


def service_account(base_url: str) -> str:
    """The file of a service account's key, whose token the double gives."""
    return json.dumps(
        {
            "type": "service_account",
            "client_email": "tests@made-up-project.iam.gserviceaccount.com",
            "private_key": GOOGLE_KEY.as_pem(private=True).decode(),
            "token_uri": f"{base_url}/token",
        }
    )


def total(used: dict[str, Any]) -> int:
    """Prompt tokens, cached ones included."""
    return int(used["input_tokens"] + used["cache_read_input_tokens"] + used["cache_creation_input_tokens"])


@dataclass
class OpenAiService(MessagesApi):
    """Chat Completions and Responses. `tool` maps the names of the script's tools to those of the agent."""

    key: tuple[str, str] = ("authorization", "Bearer sk-made-up-for-this-test")
    model: str = "gpt-made-up"

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/responses", self._responses, methods=["POST"]),
                Route("/v1/models", self._models, methods=["GET"]),
                Route("/{path:path}", self._unknown, methods=["GET", "POST"]),
            ]
        )

    async def _models(self, request: Request) -> Response:
        await self.remember(request)
        listed = {"id": self.model, "object": "model", "created": 1, "owned_by": "tests"}
        return self.refused(request) or JSONResponse({"object": "list", "data": [listed]})

    def refused(self, request: Request) -> Response | None:
        if super().refused(request) is None:
            return None
        error = {"message": "Incorrect API key", "type": "invalid_request_error", "param": None}
        return JSONResponse({"error": error | {"code": "invalid_api_key"}}, 401)

    async def _chat(self, request: Request) -> Response:
        body = json.loads(await self.remember(request))
        if refused := self.refused(request):
            return refused
        blocks, used, stop = self.next_turn(body)
        head = {"id": f"chatcmpl-{len(self.requests)}", "created": 1, "model": self.model}
        calls = [
            {
                "index": number,
                "id": block["id"],
                "type": "function",
                "function": {"name": block["name"], "arguments": json.dumps(block["input"])},
            }
            for number, block in enumerate(b for b in blocks if b["type"] == "tool_use")
        ]
        said = "".join(block["text"] for block in blocks if block["type"] == "text") or None
        why = "tool_calls" if stop == "tool_use" else "stop"
        spent = {
            "prompt_tokens": total(used),
            "completion_tokens": used["output_tokens"],
            "total_tokens": total(used) + used["output_tokens"],
            "prompt_tokens_details": {"cached_tokens": used["cache_read_input_tokens"]},
        }
        if not body.get("stream"):
            message: dict[str, Any] = {"role": "assistant", "content": said, "refusal": None}
            if calls:
                message["tool_calls"] = [{k: v for k, v in call.items() if k != "index"} for call in calls]
            choice = {"index": 0, "message": message, "finish_reason": why, "logprobs": None}
            return JSONResponse(head | {"object": "chat.completion", "choices": [choice], "usage": spent})

        def chunks() -> Iterator[str]:
            chunk = head | {"object": "chat.completion.chunk"}
            deltas: list[dict[str, Any]] = [{"role": "assistant", "content": said}]
            deltas += [{"tool_calls": [call]} for call in calls]
            for delta in deltas:
                yield _data(chunk | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
            yield _data(chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": why}]})
            if (body.get("stream_options") or {}).get("include_usage"):
                yield _data(chunk | {"choices": [], "usage": spent})
            yield "data: [DONE]\n\n"

        return StreamingResponse(chunks(), media_type="text/event-stream")

    async def _responses(self, request: Request) -> Response:
        body = json.loads(await self.remember(request))
        if refused := self.refused(request):
            return refused
        blocks, used, _ = self.next_turn(body)
        items = [_item(block, f"{len(self.requests)}{n}") for n, block in enumerate(blocks)]
        response = {
            "id": f"resp_{len(self.requests)}",
            "object": "response",
            "created_at": 1,
            "model": self.model,
            "output": items,
            "status": "completed",
            "parallel_tool_calls": False,
            "tool_choice": "auto",
            "tools": [],
            "usage": {
                "input_tokens": total(used),
                "input_tokens_details": {
                    "cached_tokens": used["cache_read_input_tokens"],
                    "cache_write_tokens": 0,
                },
                "output_tokens": used["output_tokens"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": total(used) + used["output_tokens"],
            },
        }
        if not body.get("stream"):
            return JSONResponse(response)

        def events() -> Iterator[str]:
            begun = response | {"output": [], "status": "in_progress", "usage": None}
            sent: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
            for index, item in enumerate(items):
                sent.append({"type": "response.output_item.added", "output_index": index, "item": item})
                if item["type"] == "message":
                    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
                    delta = {"delta": item["content"][0]["text"], "logprobs": []}
                    sent.append({"type": "response.output_text.delta"} | place | delta)
                sent.append({"type": "response.output_item.done", "output_index": index, "item": item})
            sent.append({"type": "response.completed", "response": response})
            for number, event in enumerate(sent):
                yield f"event: {event['type']}\n{_data(event | {'sequence_number': number})}"

        return StreamingResponse(events(), media_type="text/event-stream")


@dataclass
class BedrockService(MessagesApi):
    """InvokeModel and Converse, streamed and not."""

    model: str = "claude-sonnet-5"

    def app(self) -> Starlette:
        calls = ("invoke", "invoke-with-response-stream", "converse", "converse-stream")
        return Starlette(
            routes=[
                *(Route(f"/model/{{model}}/{call}", self._call, methods=["POST"]) for call in calls),
                Route("/{path:path}", self._unknown, methods=["GET", "POST"]),
            ]
        )

    async def _call(self, request: Request) -> Response:
        sent = await self.remember(request)
        if not _signed(request, sent, self.base_url):
            kind = {"x-amzn-errortype": "InvalidSignatureException"}
            return JSONResponse({"message": "The request signature does not match"}, 403, kind)
        body = json.loads(sent)
        if "messages" not in body:
            kind = {"x-amzn-errortype": "ValidationException"}
            return JSONResponse({"message": "messages: Field required"}, 400, kind)
        path = request.url.path
        if "/converse" in path:
            asked = body | {"tools": body.get("toolConfig")}
            return self._converse(asked, streamed=path.endswith("stream"))
        blocks, used, stop = self.next_turn(body)
        if path.endswith("/invoke"):
            return JSONResponse(
                self.message() | {"content": list(blocks), "stop_reason": stop, "usage": used}
            )

        async def chunks() -> AsyncIterator[bytes]:
            async for event in self.events(self.message(), blocks, stop, used):
                packed = base64.b64encode(event.partition("data: ")[2].strip().encode()).decode()
                yield _aws_message("chunk", {"bytes": packed})

        return StreamingResponse(chunks(), media_type="application/vnd.amazon.eventstream")

    def _converse(self, body: dict[str, Any], *, streamed: bool) -> Response:
        blocks, used, stop = self.next_turn(body)
        said = "".join(block["text"] for block in blocks if block["type"] == "text")
        spent = {
            "inputTokens": used["input_tokens"],
            "outputTokens": used["output_tokens"],
            "totalTokens": total(used) + used["output_tokens"],
            "cacheReadInputTokens": used["cache_read_input_tokens"],
            "cacheWriteInputTokens": used["cache_creation_input_tokens"],
        }
        if not streamed:
            message = {"role": "assistant", "content": [{"text": said}]}
            answer = {"output": {"message": message}, "stopReason": stop, "usage": spent}
            return JSONResponse(answer | {"metrics": {"latencyMs": 1}})
        events: list[tuple[str, dict[str, Any]]] = [
            ("messageStart", {"role": "assistant"}),
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": said}}),
            ("contentBlockStop", {"contentBlockIndex": 0}),
            ("messageStop", {"stopReason": stop}),
            ("metadata", {"usage": spent, "metrics": {"latencyMs": 1}}),
        ]
        stream = b"".join(_aws_message(kind, payload) for kind, payload in events)
        return Response(stream, media_type="application/vnd.amazon.eventstream")


@dataclass
class VertexService(MessagesApi):
    """rawPredict and streamRawPredict of Anthropic's models, and the exchange of a service account's key."""

    model: str = "claude-sonnet-5"
    tokens: list[str] = field(default_factory=list)

    def app(self) -> Starlette:
        place = f"/v1/projects/{PROJECT}/locations/{REGION}/publishers/anthropic/models"
        return Starlette(
            routes=[
                Route("/token", self._token, methods=["POST"]),
                Route(f"{place}/{{call}}", self._predict, methods=["POST"]),
                Route("/{path:path}", self._unknown, methods=["GET", "POST"]),
            ]
        )

    async def _token(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode())
        claims = jwt.decode(form["assertion"][0], GOOGLE_KEY, algorithms=["RS256"]).claims
        assert claims["aud"] == f"{self.base_url}/token"
        assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
        self.tokens.append(f"ya29.made-up-{len(self.tokens)}")
        return JSONResponse({"access_token": self.tokens[-1], "expires_in": 3600, "token_type": "Bearer"})

    async def _predict(self, request: Request) -> Response:
        body = json.loads(await self.remember(request))
        if request.headers.get("authorization") not in [f"Bearer {token}" for token in self.tokens]:
            error = {"code": 401, "message": "Request had invalid credentials", "status": "UNAUTHENTICATED"}
            return JSONResponse({"error": error}, 401)
        if "messages" not in body:
            error = {"type": "invalid_request_error", "message": "messages: Field required"}
            return JSONResponse({"type": "error", "error": error}, 400)
        blocks, used, stop = self.next_turn(body)
        if not request.url.path.endswith(":streamRawPredict"):
            answer = self.message() | {"content": list(blocks), "stop_reason": stop, "usage": used}
            return JSONResponse(answer)
        events = self.events(self.message(), blocks, stop, used)
        return StreamingResponse(events, media_type="text/event-stream")


@dataclass
class GeminiService(MessagesApi):
    """generateContent and streamGenerateContent."""

    key: tuple[str, str] = ("x-goog-api-key", "made-up-gemini-key")
    model: str = "gemini-made-up"

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1beta/models", self._models, methods=["GET"]),
                Route("/v1beta/models/{call}", self._generate, methods=["POST"]),
                Route("/{path:path}", self._unknown, methods=["GET", "POST"]),
            ]
        )

    async def _generate(self, request: Request) -> Response:
        body = json.loads(await self.remember(request))
        if self.refused(request):
            error = {"code": 400, "message": "API key not valid", "status": "INVALID_ARGUMENT"}
            return JSONResponse({"error": error}, 400)
        if request.url.path.endswith(":countTokens"):
            return JSONResponse({"totalTokens": 42})
        blocks, used, _ = self.next_turn(body)
        answer = {
            "candidates": [
                {
                    "index": 0,
                    "content": {"role": "model", "parts": _parts(blocks)},
                    "finishReason": "STOP",
                }
            ],
            "usageMetadata": {
                "promptTokenCount": total(used),
                "candidatesTokenCount": used["output_tokens"],
                "cachedContentTokenCount": used["cache_read_input_tokens"],
                "totalTokenCount": total(used) + used["output_tokens"],
            },
            "modelVersion": self.model,
        }
        if ":stream" in request.url.path:
            return StreamingResponse(iter([_data(answer)]), media_type="text/event-stream")
        return JSONResponse(answer)


def _parts(blocks: Turn) -> list[dict[str, Any]]:
    return [
        {"text": block["text"]}
        if block["type"] == "text"
        else {"functionCall": {"name": block["name"], "args": block["input"]}}
        for block in blocks
    ]


def _item(block: dict[str, Any], number: str) -> dict[str, Any]:
    if block["type"] == "text":
        part = {"type": "output_text", "text": block["text"], "annotations": [], "logprobs": []}
        return {
            "id": f"msg_{number}",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [part],
        }
    return {
        "id": f"fc_{number}",
        "type": "function_call",
        "call_id": block["id"],
        "name": block["name"],
        "arguments": json.dumps(block["input"]),
        "status": "completed",
    }


def _data(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _signed(request: Request, body: bytes, base_url: str) -> bool:
    """Whether the signature is the one that botocore makes of what came."""
    raw = request.scope["raw_path"].decode()
    names = ("host", "x-amz-date", "content-type")
    again = AWSRequest(request.method, base_url + raw, data=body, headers={"Host": request.headers["host"]})
    signer = SigV4Auth(Credentials(AWS_KEY, AWS_SECRET), "bedrock", REGION)
    given = request.headers.get("authorization", "")
    again.context["timestamp"] = request.headers.get("x-amz-date", "")
    for name in given.partition("SignedHeaders=")[2].partition(",")[0].split(";"):
        if name in names and name not in ("host", "x-amz-date"):
            again.headers[name] = request.headers[name]
    again.headers["X-Amz-Date"] = request.headers.get("x-amz-date", "")
    canonical = signer.canonical_request(again)
    signature = signer.signature(signer.string_to_sign(again, canonical), again)
    return given.endswith(f"Signature={signature}") and f"Credential={AWS_KEY}/" in given


def _aws_message(kind: str, payload: dict[str, Any]) -> bytes:
    """One message of AWS's event streams."""
    given = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + len(value).to_bytes(2) + value.encode()
        for name, value in given.items()
    )
    content = json.dumps(payload).encode()
    prelude = (16 + len(headers) + len(content)).to_bytes(4) + len(headers).to_bytes(4)
    message = prelude + zlib.crc32(prelude).to_bytes(4) + headers + content
    return message + zlib.crc32(message).to_bytes(4)
