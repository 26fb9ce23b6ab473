"""How the gateway serves the page: compressed, cached for ever or checked each time, under a strict policy."""

import gzip
from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio

from dashboard_build import STATIC
from gateway_stack import running_gateway
from servers import Database, running_nats

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def web(
    postgres_server: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client without any credential."""
    folder = tmp_path_factory.mktemp("gateway")
    with running_nats() as broker, postgres_server.fresh() as dsn:
        async with (
            running_gateway(broker, dsn, folder) as stack,
            httpx2.AsyncClient(base_url=stack.url) as client,
        ):
            yield client


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/new?prompt=hello",
        "/tasks/task_1",
        "/tasks/task_1/changes",
        "/usage",
        "/settings/keys",
        "/installation",
    ],
)
async def test_every_address_of_the_page_is_the_page(web: httpx2.AsyncClient, path: str) -> None:
    answer = await web.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.text == (STATIC / "index.html").read_text()
    assert answer.headers["cache-control"] == "no-cache"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    ["/assets/none-12345678.js", "/assets/..%2f..%2fpages.py", "/assets/", "/sources.json", "/nowhere"],
)
async def test_there_is_nothing_else(web: httpx2.AsyncClient, path: str) -> None:
    answer = await web.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip, deflate, br, zstd", "br"), ("gzip", "gzip"), ("identity", None), ("br;q=0, gzip", "gzip")],
)
async def test_scripts_are_compressed_and_kept_for_ever(
    web: httpx2.AsyncClient, accepted: str, encoding: str | None
) -> None:
    script = next(STATIC.glob("assets/index-*.js"))
    async with web.stream("GET", f"/assets/{script.name}", headers={"Accept-Encoding": accepted}) as answer:
        raw = b"".join([piece async for piece in answer.aiter_raw()])
    assert answer.headers.get("content-encoding") == encoding
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert int(answer.headers["content-length"]) == len(raw)
    if encoding == "gzip":
        assert gzip.decompress(raw) == script.read_bytes()
    elif encoding is None:
        assert raw == script.read_bytes()
    else:
        assert raw == script.with_name(script.name + ".br").read_bytes()


async def test_head_says_what_get_would(web: httpx2.AsyncClient) -> None:
    answer = await web.head("/")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
