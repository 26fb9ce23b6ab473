"""Who asks too often is told when to ask again; the server goes by its own names only, and every answer is guarded."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import connect

from gateway_stack import eventually
from identity_stack import Installation, installed
from remote_claude.access import credential_secrets
from remote_claude.edge.rate_limits import RateLimits
from remote_claude.runtime.ids import new_id
from servers import Database, running_nats

OUTSIDE = {"X-Forwarded-For": "203.0.113.7"}
ANOTHER = {"X-Forwarded-For": "203.0.113.8"}


@asynccontextmanager
async def limited(postgres_server: Database, folder: Path, limits: str) -> AsyncIterator[Installation]:
    with running_nats() as broker, postgres_server.fresh() as dsn:
        async with installed(broker, dsn, folder, rate_limits=limits) as installation:
            yield installation


async def test_requests_are_limited_by_credential_organisation_and_address(
    postgres_server: Database, tmp_path: Path
) -> None:
    async with limited(postgres_server, tmp_path, "key=5/hour,address=20/hour") as installation:
        owner = installation.by_key
        first = await owner.get("/v1/tasks")
        assert first.headers["RateLimit-Policy"] == '"key";q=5;w=3600'
        assert first.headers["RateLimit"].startswith('"key";r=4;t=')
        for _ in range(4):
            await owner.get("/v1/tasks")
        refused = await owner.post("/v1/tasks", json={"prompt": "x", "agent": "shell"})
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert 0 < int(refused.headers["Retry-After"]) <= 3600

        anonymous = installation.client()
        answers = [(await anonymous.get("/v1/tasks", headers=OUTSIDE)).status_code for _ in range(21)]
        assert answers == [401] * 20 + [429]
        assert (await anonymous.get("/v1/tasks", headers=ANOTHER)).status_code == 401

        # What could be guessed is limited whatever the setting says.
        tries = [
            (await anonymous.post("/oauth/token", data={"grant_type": "x"}, headers=ANOTHER)).status_code
            for _ in range(19)
        ]
        assert set(tries) == {400}


async def test_what_could_be_guessed_is_limited_per_address_and_account(
    postgres_server: Database, tmp_path: Path
) -> None:
    async with limited(postgres_server, tmp_path, "") as installation:
        anonymous = installation.client()
        for path, data in (
            ("/oauth/device_authorization", {"client_id": "rclaude-cli"}),
            ("/oauth/token", {"grant_type": "x"}),
        ):
            answers = [await anonymous.post(path, data=data, headers=OUTSIDE) for _ in range(61)]
            assert answers[-1].status_code == 429
            assert all(answer.status_code != 429 for answer in answers[:-1])
            assert (await anonymous.post(path, data=data, headers=ANOTHER)).status_code != 429
        links = [await anonymous.get("/auth/link?token=x", headers=OUTSIDE) for _ in range(61)]
        assert [a.status_code for a in links] == [400] * 60 + [429]

        browser = await installation.browser()
        token = (await browser.get("/v1/session")).json()["csrf_token"]
        form = {"code": "BCDF-GHJK", "csrf_token": token}
        codes = [(await browser.post("/auth/device", data=form)).status_code for _ in range(11)]
        assert codes[-1] == 429
        assert 429 not in codes[:-1]
        body = {
            "token": f"{new_id('org')}.{new_id('invitation')}.{credential_secrets.generate(credential_secrets.INVITATION)}"
        }
        tries = [(await browser.post("/v1/invitations/accept", json=body)).status_code for _ in range(11)]
        assert tries == [404] * 10 + [429]


async def test_a_handshake_of_the_stream_counts_as_a_request(
    postgres_server: Database, tmp_path: Path
) -> None:
    async with limited(postgres_server, tmp_path, "key=2/hour") as installation:
        url = f"ws://127.0.0.1:{installation.host.port}/v1/stream"
        headers = {"Authorization": f"Bearer {installation.owner.api_key}"}
        for _ in range(2):
            async with connect(url, additional_headers=headers, proxy=None) as socket:
                assert await socket.ping()
        async with connect(url, additional_headers=headers, proxy=None) as socket:
            assert json.loads(await socket.recv())["code"] == "rate_limited"
            await socket.wait_closed()
            assert socket.close_code == 4429


async def test_the_loopback_api_goes_by_its_own_names(postgres_server: Database, tmp_path: Path) -> None:
    async with limited(postgres_server, tmp_path, "") as installation:
        http = installation.by_key
        port = httpx2.URL(installation.url).port
        for host in (f"127.0.0.1:{port}", f"localhost:{port}", "LOCALHOST", f"[::1]:{port}"):
            assert (await http.get("/v1/tasks", headers={"Host": host})).status_code == 200
        for host in (f"rebound.example:{port}", "127.0.0.1.example", "[::2]:80"):
            refused = await http.get("/v1/tasks", headers={"Host": host})
            assert (refused.status_code, refused.json()["code"]) == (421, "host_not_allowed")

        own = await http.get("/v1/tasks", headers={"X-Request-Id": "build-4711.a"})
        assert own.headers["X-Request-Id"] == "build-4711.a"
        for bad in ("", "a b", "x" * 65, "<script>"):
            made = (await http.get("/v1/nothing", headers={"X-Request-Id": bad})).headers["X-Request-Id"]
            assert re.fullmatch("[0-9a-f]{32}", made)

        answer = await http.get("/v1/tasks")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "script-src 'self'" in (await http.get("/")).headers["Content-Security-Policy"]

        # No page of another site is let in: a browser asks first, and hears nothing of it.
        asked = await http.request(
            "OPTIONS",
            "/v1/tasks",
            headers={"Origin": "https://other.example", "Access-Control-Request-Method": "POST"},
        )
        assert not [name for name in asked.headers if name.lower().startswith("access-control")]


def test_limits_are_of_a_known_kind() -> None:
    with pytest.raises(ValueError, match="nobody"):
        RateLimits.of("nobody=1/minute")


async def test_processes_that_live_side_by_side_divide_the_limits(
    postgres_server: Database, tmp_path: Path
) -> None:
    async def policy(installation: Installation) -> str:
        return (await installation.by_key.get("/v1/tasks")).headers["RateLimit-Policy"]

    with running_nats() as broker, postgres_server.fresh() as dsn:
        limits = "key=1000/hour"
        async with installed(broker, dsn, tmp_path, rate_limits=limits) as one:
            assert await policy(one) == '"key";q=1000;w=3600'
            async with installed(broker, dsn, tmp_path, rate_limits=limits) as another:
                for each in (one, another):

                    async def divided(each: Installation = each) -> bool:
                        return await policy(each) == '"key";q=500;w=3600'

                    await eventually(divided, "each grants half")

            async def alone() -> bool:
                return await policy(one) == '"key";q=1000;w=3600'

            await eventually(alone, "the one that is left grants all")
