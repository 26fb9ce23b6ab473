"""Uploading a bundle before the task that names it."""

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from gateway_stack import Member, Stack, running_gateway
from servers import Broker

pytestmark = pytest.mark.asyncio(loop_scope="module")


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_an_upload_is_kept_and_known(stack: Stack, member: Member) -> None:
    content = b"a bundle" * 400_000
    sha256 = sha256_of(content)
    assert (await member.http.head(f"/v1/blobs/{sha256}")).status_code == 404
    answer = await member.http.put(f"/v1/blobs/{sha256}", content=content)
    assert (answer.status_code, answer.json()) == (201, {"sha256": sha256, "size": len(content)})
    assert (await member.http.head(f"/v1/blobs/{sha256}")).status_code == 200
    assert await stack.host.runtime.objects.get(member.org, sha256) == content


async def test_an_upload_on_its_way_has_no_file_that_a_killed_gateway_would_leave(
    member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    content, left = b"x" * 4_000_000, list[str]()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 100_000):
            yield content[start : start + 100_000]
            left.extend(os.listdir(tmp_path))

    answer = await member.http.put(f"/v1/blobs/{sha256_of(content)}", content=pieces())
    assert (answer.status_code, left) == (201, [])


async def test_an_upload_of_what_is_there_changes_nothing(member: Member) -> None:
    content = b"again"
    for status in (201, 200):
        answer = await member.http.put(f"/v1/blobs/{sha256_of(content)}", content=content)
        assert (answer.status_code, answer.json()["size"]) == (status, 5)


async def test_an_upload_in_pieces_needs_no_length(member: Member) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 50_000

    answer = await member.http.put(f"/v1/blobs/{sha256_of(b'x' * 5_000_000)}", content=pieces())
    assert (answer.status_code, answer.json()["size"]) == (201, 5_000_000)


async def test_an_empty_upload_is_one(member: Member) -> None:
    assert (await member.http.put(f"/v1/blobs/{sha256_of(b'')}", content=b"")).status_code == 201


async def test_what_does_not_have_its_hash_is_not_kept(member: Member) -> None:
    wrong = sha256_of(b"something else")
    answer = await member.http.put(f"/v1/blobs/{wrong}", content=b"content")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "hash_mismatch")
    assert sha256_of(b"content") in problem["detail"]
    assert (await member.http.head(f"/v1/blobs/{wrong}")).status_code == 404


@pytest.mark.parametrize("name", ["x", "0" * 63, "0" * 65, "A" * 64, "../" * 21 + "a"])
async def test_a_name_that_is_no_hash_is_refused(member: Member, name: str) -> None:
    assert (await member.http.put(f"/v1/blobs/{name}", content=b"x")).status_code in (404, 422)
    assert (await member.http.head(f"/v1/blobs/{name}")).status_code in (404, 422)


async def test_an_upload_is_its_organisations_alone(stack: Stack, member: Member) -> None:
    content = b"private"
    await member.http.put(f"/v1/blobs/{sha256_of(content)}", content=content)
    stranger = await stack.member()
    assert (await stranger.http.head(f"/v1/blobs/{sha256_of(content)}")).status_code == 404
    assert (await stranger.http.put(f"/v1/blobs/{sha256_of(content)}", content=content)).status_code == 201


async def test_an_upload_above_the_bound_is_refused(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(33):
            yield b"x" * 65536

    settings = {"RCLAUDE_GATEWAY_MAX_BUNDLE_MIB": "2"}
    async with running_gateway(fresh_nats, postgres_dsn, tmp_path, settings) as stack:
        member = await stack.member()
        fits = b"x" * 2 * 1024 * 1024
        assert (await member.http.put(f"/v1/blobs/{sha256_of(fits)}", content=fits)).status_code == 201
        for content in (fits + b"x", pieces()):
            answer = await member.http.put(f"/v1/blobs/{'0' * 64}", content=content)
            assert (answer.status_code, answer.json()["code"]) == (413, "bundle_too_large")
            assert "RCLAUDE_GATEWAY_MAX_BUNDLE_MIB" in answer.json()["detail"]


async def test_an_upload_that_breaks_off_leaves_nothing(
    member: Member, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 100_000
        raise ConnectionError("unplugged")

    sha256 = sha256_of(b"x" * 200_000)
    with pytest.raises((httpx2.TransportError, ConnectionError)):
        await member.http.put(f"/v1/blobs/{sha256}", content=broken())
    assert (await member.http.head(f"/v1/blobs/{sha256}")).status_code == 404
    assert "ClientDisconnect" not in "".join(capsys.readouterr())  # who hangs up is no fault of the server
