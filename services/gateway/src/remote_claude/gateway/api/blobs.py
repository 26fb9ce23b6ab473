"""Uploads: a repository's bundle, by its SHA-256, before the task that names it."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from enum import Enum
from http import HTTPStatus
from pathlib import Path as File
from typing import IO, Annotated

from fastapi import APIRouter, Path, Request, Response

from remote_claude.edge.bodies import bounded
from remote_claude.edge.caller import Caller
from remote_claude.edge.models import binary, problems
from remote_claude.edge.problems import Problem
from remote_claude.gateway.api.answer_models import BlobAnswer
from remote_claude.gateway.api.models import SHA256
from remote_claude.gateway.settings import GatewaySettings
from remote_claude.runtime.objects import Objects

TAGS: list[str | Enum] = ["blobs"]
MIB = 1024 * 1024
Sha256 = Annotated[str, Path(pattern=SHA256, description="SHA-256 of the content, lower-case hex.")]


def add_routes(api: APIRouter, settings: GatewaySettings, objects: Objects) -> None:
    """The routes under `/v1/blobs`."""

    @api.head("/v1/blobs/{sha256}", tags=TAGS, response_class=Response, responses=problems(404, 422))
    async def head_blob(principal: Caller, sha256: Sha256) -> Response:
        """Whether the organisation has this upload already: 200, or 404."""
        if not await objects.exists(principal.org, sha256):
            detail = f"There is no upload {sha256}. Send it: `PUT /v1/blobs/{sha256}`."
            raise Problem(HTTPStatus.NOT_FOUND, "blob_not_found", detail)
        return Response()

    @api.put(
        "/v1/blobs/{sha256}",
        tags=TAGS,
        status_code=HTTPStatus.CREATED,
        responses={
            200: {"model": BlobAnswer, "description": "It was here already"},
            **problems(413, 422, 507),
        },
        openapi_extra={"requestBody": {"required": True, "content": binary("application/octet-stream")}},
    )
    async def put_blob(request: Request, response: Response, principal: Caller, sha256: Sha256) -> BlobAnswer:
        """Upload a file. It is kept only when its content has this SHA-256."""
        pieces = bounded(request, settings.max_bundle_mib * MIB, _too_large(settings))
        with tempfile.TemporaryFile() as file:  # has no name to be left under by a gateway that is killed
            size, actual = await _receive(pieces, file)
            if actual != sha256:
                raise Problem(
                    HTTPStatus.UNPROCESSABLE_ENTITY,
                    "hash_mismatch",
                    f"What arrived has the SHA-256 {actual}, not {sha256}. Send it again, under its own hash.",
                )
            if await objects.exists(principal.org, sha256):
                response.status_code = HTTPStatus.OK
            else:
                await objects.put_file(principal.org, File(f"/proc/self/fd/{file.fileno()}"))
        return BlobAnswer(sha256=sha256, size=size)


async def _receive(pieces: AsyncIterator[bytes], file: IO[bytes]) -> tuple[int, str]:
    """Write a body to a file, a mebibyte at a time. Returns its size and its SHA-256."""
    digest, size, pending = hashlib.sha256(), 0, bytearray()

    def write(data: bytes) -> None:
        digest.update(data)
        file.write(data)

    async for chunk in pieces:
        size += len(chunk)
        pending += chunk
        if len(pending) >= MIB:
            await asyncio.to_thread(write, bytes(pending))
            pending.clear()
    write(bytes(pending))
    file.flush()
    return size, digest.hexdigest()


def _too_large(settings: GatewaySettings) -> Problem:
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "bundle_too_large",
        f"At most {settings.max_bundle_mib} MiB fit. The operator sets the bound: RCLAUDE_GATEWAY_MAX_BUNDLE_MIB.",
    )
