"""The sign-in of the CLI: Authlib's client, which is not ours, exchanges and refreshes; thieves of codes get nothing."""

import asyncio
import re
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc import jwt
from joserfc.jwk import ECKey

from event_logs import everything
from identity_stack import Installation
from remote_claude.access.credentials import AUDIENCE, ISSUER
from remote_claude.access.principal import AccessToken, Presented
from remote_claude.access.refusals import Unauthenticated
from remote_claude.client import ApiError, AsyncClient, Client, Tokens, operations
from remote_claude.client.models import TokenAnswer

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLBACK = "http://127.0.0.1:45454/callback"
VERIFIER = "v" * 64
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


def client(installation: Installation) -> AsyncOAuth2Client:
    return AsyncOAuth2Client(
        client_id="rclaude-cli",
        redirect_uri=CALLBACK,
        code_challenge_method="S256",
        token_endpoint_auth_method="none",
        token_endpoint=f"{installation.url}/oauth/token",
    )


async def agree(browser: httpx2.AsyncClient, url: str, **more: str) -> httpx2.Response:
    """Open the page and send its form."""
    page = await browser.get(url)
    assert page.status_code == 200, page.text
    form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text))
    action = re.search(r'action="([^"]+)"', page.text)
    assert action is not None
    return await browser.post(action[1], data={**form, **more})


async def code(installation: Installation, browser: httpx2.AsyncClient) -> str:
    async with client(installation) as cli:
        url, _ = cli.create_authorization_url(
            f"{installation.url}/oauth/authorize", state="s", code_verifier=VERIFIER
        )
    answer = await agree(browser, url)
    assert answer.status_code == 303, answer.text
    location = urlsplit(answer.headers["location"])
    assert location._replace(query="").geturl() == CALLBACK
    query = parse_qs(location.query)
    assert query["state"] == ["s"]
    return query["code"][0]


async def tokens(installation: Installation) -> dict[str, Any]:
    async with client(installation) as cli:
        given = await code(installation, await installation.browser())
        return dict(
            await cli.fetch_token(code=given, code_verifier=VERIFIER, grant_type="authorization_code")
        )


async def test_a_code_from_a_browser_becomes_tokens_that_act_for_the_person(
    installation: Installation,
) -> None:
    token = await tokens(installation)
    by_token = installation.client(token["access_token"])
    who = (await by_token.get("/v1/session")).json()
    assert (who["user"], who["credential"]) == (installation.owner.user, "access_token")
    answer = await by_token.post("/v1/tasks", json={"prompt": "do it", "agent": "shell"})
    assert answer.status_code in (201, 202), answer.text


async def test_a_code_is_good_once_with_its_own_verifier_and_address(installation: Installation) -> None:
    browser = await installation.browser()
    async with client(installation) as cli:
        stolen = await code(installation, browser)
        for wrong in ({"code_verifier": "x" * 64}, {"redirect_uri": "http://127.0.0.1:1/callback"}):
            with pytest.raises(OAuthError, match="invalid_grant"):
                await cli.fetch_token(**{"code": stolen, "code_verifier": VERIFIER, **wrong})
        await cli.fetch_token(code=stolen, code_verifier=VERIFIER)
        with pytest.raises(OAuthError, match="invalid_grant"):
            await cli.fetch_token(code=stolen, code_verifier=VERIFIER)


async def test_nobody_is_led_anywhere_but_to_this_machine(installation: Installation) -> None:
    browser = await installation.browser()
    good = {
        "client_id": "rclaude-cli",
        "redirect_uri": CALLBACK,
        "code_challenge": "c" * 43,
        "code_challenge_method": "S256",
        "response_type": "code",
    }
    assert (await browser.get("/oauth/authorize", params=good)).status_code == 200
    for wrong in (
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1.evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1:1/elsewhere"},
        {"client_id": "another"},
        {"code_challenge_method": "plain"},
        {"response_type": "token"},
        {"code_challenge": "short"},
    ):
        answer = await browser.get("/oauth/authorize", params=good | wrong)
        assert (answer.status_code, answer.json()["code"]) == (403, "sign_in_failed"), wrong
    nobody = await installation.client().get("/oauth/authorize", params=good)
    assert nobody.status_code == 303
    assert nobody.headers["location"].startswith("/auth/sign-in?next=%2Foauth%2Fauthorize")
    form = {"redirect_uri": CALLBACK, "code_challenge": "c" * 43, "csrf_token": "0" * 64}
    forged = await browser.post("/oauth/authorize", data=form)
    assert (forged.status_code, forged.json()["code"]) == (403, "csrf_refused")


async def test_a_refresh_token_is_rotated_and_its_reuse_ends_the_session(installation: Installation) -> None:
    first = await tokens(installation)
    async with client(installation) as cli:
        second = await cli.refresh_token(refresh_token=first["refresh_token"])
        assert second["refresh_token"] != first["refresh_token"]
        by_second = installation.client(second["access_token"])
        assert (await by_second.get("/v1/session")).status_code == 200
        with pytest.raises(OAuthError, match="invalid_grant"):
            await cli.refresh_token(refresh_token=first["refresh_token"])
        with pytest.raises(OAuthError, match="invalid_grant"):
            await cli.refresh_token(refresh_token=second["refresh_token"])
    ended = await by_second.get("/v1/session")
    assert (ended.status_code, ended.json()["code"]) == (401, "unauthenticated")
    log = await everything(installation.host.runtime.log)
    assert [e.event.reason for e in log if e.type == "SessionRevoked"][-1] == "token_reused"


async def test_a_machine_without_a_browser_is_signed_in_by_a_code(installation: Installation) -> None:
    machine, browser = installation.client(), await installation.browser()
    begun = (await machine.post("/oauth/device_authorization", data={"client_id": "rclaude-cli"})).json()
    asked = {"grant_type": DEVICE, "client_id": "rclaude-cli", "device_code": begun["device_code"]}
    pending = await machine.post("/oauth/token", data=asked)
    assert (pending.status_code, pending.json()["error"]) == (400, "authorization_pending")
    assert re.fullmatch("[B-Z]{4}-[B-Z]{4}", begun["user_code"])
    assert "Done" in (await agree(browser, begun["verification_uri_complete"])).text
    token = (await machine.post("/oauth/token", data=asked)).json()
    who = (await installation.client(token["access_token"]).get("/v1/session")).json()
    assert who["user"] == installation.owner.user
    again = await machine.post("/oauth/token", data=asked)
    assert again.json()["error"] == "invalid_grant"


async def test_tokens_that_this_server_did_not_sign_for_this_use_are_refused(
    installation: Installation,
) -> None:
    token = (await tokens(installation))["access_token"]
    own = ECKey.generate_key("P-256")
    body = {"iss": ISSUER, "aud": AUDIENCE, "sub": installation.owner.user, "sid": "session_x", "exp": 2**31}
    forged = jwt.encode({"alg": "ES256"}, body, own)
    head, payload, signature = token.split(".")
    none = f"eyJhbGciOiJub25lIn0.{payload}."
    for wrong in (forged, none, f"{head}.{payload}.{signature[:-4]}", f"{head}.{payload}.", token[:-40]):
        for path in ("/v1/session", "/v1/tasks", "/v1/orgs"):
            answer = await installation.client(wrong).get(path)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), (wrong, path)


async def test_keys_are_made_listed_and_revoked_by_their_owner(installation: Installation) -> None:
    browser = await installation.browser()
    made = await browser.post("/v1/keys", json={"name": "ci", "scopes": ["tasks:read"], "expires_in_days": 7})
    assert made.status_code == 201, made.text
    key = made.json()
    by_key = installation.client(key["secret"])
    assert (await by_key.get("/v1/tasks")).status_code == 200
    assert (await by_key.post("/v1/keys", json={"name": "more"})).json()["code"] == "scope_missing"
    unknown = (await browser.post("/v1/keys", json={"name": "ci", "scopes": ["nope"]})).json()
    assert (unknown["status"], "There is no scope 'nope'; there are tasks," in unknown["detail"]) == (
        422,
        True,
    )
    listed = (await browser.get("/v1/keys", params={"min_position": key["position"]})).json()["keys"]
    [row] = [row for row in listed if row["id"] == key["id"]]
    assert (row["name"], row["prefix"], row["scopes"]) == ("ci", key["secret"][:10], ["tasks:read"])
    assert key["secret"] not in str(listed)
    assert (await browser.delete(f"/v1/keys/{key['id']}")).status_code == 204
    assert (await by_key.get("/v1/tasks")).status_code == 401
    for unknown in ("key_00000000000000000000000000", "x"):
        answer = await browser.delete(f"/v1/keys/{unknown}")
        assert (answer.status_code, answer.json()["code"]) == (404, "key_not_found")


async def test_sessions_are_listed_and_ended_by_their_person(installation: Installation) -> None:
    browser, other = await installation.browser(), await installation.browser()
    listed = (await browser.get("/v1/sessions")).json()["sessions"]
    assert [row["current"] for row in listed].count(True) == 1
    assert {row["address"] for row in listed} == {"127.0.0.1"}
    theirs = (await other.get("/v1/session")).json()["session"]
    assert (await browser.delete(f"/v1/sessions/{theirs}")).status_code == 204
    assert (await other.get("/v1/session")).status_code == 401


async def test_what_is_open_outlives_its_access_token_and_ends_with_its_session(
    installation: Installation,
) -> None:
    verifier, operation = installation.host.runtime.verifier, "stream_tasks"
    token = (await tokens(installation))["access_token"]
    shown = Presented(authorization=f"Bearer {token}")
    opened = verifier.admit(shown, operation).credential
    assert isinstance(opened, AccessToken)
    expired = Presented(authorization=f"Bearer {token[:-9]}")  # refused as one of five minutes ago is
    with pytest.raises(Unauthenticated):
        verifier.admit(expired, operation)
    assert verifier.readmit(expired, opened, operation).user == installation.owner.user
    ended = await installation.client(token).delete(f"/v1/sessions/{opened.id}")
    assert ended.status_code == 204, ended.text
    with pytest.raises(Unauthenticated):
        verifier.readmit(expired, opened, operation)


async def test_the_sdk_refreshes_its_tokens_before_they_expire_and_once(installation: Installation) -> None:
    first, owner = await tokens(installation), installation.owner.user
    kept: list[TokenAnswer] = []

    def signed_in(expires_in: float) -> Tokens:
        return Tokens(
            first["refresh_token"],
            access_token=first["access_token"],
            expires_at=time.time() + expires_in,
            keep=kept.append,
        )

    async with AsyncClient(installation.url, credentials=signed_in(first["expires_in"])) as sdk:
        assert (await sdk.call(operations.get_session()))["user"] == owner
    assert kept == []
    async with AsyncClient(installation.url, credentials=signed_in(1)) as sdk:
        await asyncio.gather(*(sdk.call(operations.get_session()) for _ in range(5)))
    [second] = kept
    assert second["refresh_token"] != first["refresh_token"]

    def goes_on(refresh_token: str) -> str:
        credentials = Tokens(refresh_token, keep=kept.append)
        return str(Client(installation.url, credentials=credentials).call(operations.get_session())["user"])

    assert await asyncio.to_thread(goes_on, second["refresh_token"]) == owner
    assert len(kept) == 2
    with pytest.raises(ApiError):  # a token that was used twice has ended the session
        await asyncio.to_thread(goes_on, first["refresh_token"])
    with pytest.raises(ApiError):
        await asyncio.to_thread(goes_on, kept[-1]["refresh_token"])
