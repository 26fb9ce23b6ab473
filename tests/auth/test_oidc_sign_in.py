"""People sign in with an OpenID Connect issuer that is not ours: discovery, nonce, PKCE, verified e-mail."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import httpx2
import oidc_provider_mock
import psycopg
import pytest
import pytest_asyncio

from identity_stack import Installation, installed
from servers import Broker, Database

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def module_dsn(postgres_server: Database) -> Iterator[str]:
    with postgres_server.fresh() as dsn:
        yield dsn


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def signing_in(
    module_nats: Broker, module_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Installation, str]]:
    with oidc_provider_mock.run_server_in_thread() as server:
        issuer = f"http://localhost:{server.server_port}"
        environment = {
            "RCLAUDE_AUTH_OIDC_ISSUER": issuer,
            "RCLAUDE_AUTH_OIDC_CLIENT_ID": "rclaude",
            "RCLAUDE_AUTH_OIDC_CLIENT_SECRET": "made-up",
            "RCLAUDE_AUTH_GOOGLE_ISSUER": issuer,
            "RCLAUDE_AUTH_GOOGLE_CLIENT_ID": "rclaude",
            "RCLAUDE_AUTH_GOOGLE_CLIENT_SECRET": "made-up",
            "RCLAUDE_AUTH_GOOGLE_HOSTED_DOMAIN": "example.com",
        }
        folder = tmp_path_factory.mktemp("oidc")
        async with installed(module_nats, module_dsn, folder, environment) as running:
            yield running, issuer


async def sign_in(
    installation: Installation, provider: str, sub: str
) -> tuple[httpx2.AsyncClient, httpx2.Response]:
    """A browser, and the answer to its coming back from the issuer."""
    browser = installation.client()
    begun = await browser.get(f"/auth/sign-in/{provider}")
    assert begun.status_code == 303, begun.text
    agreed = await browser.post(begun.headers["location"], data={"sub": sub})
    assert agreed.status_code in (302, 303), agreed.text
    back = urlsplit(agreed.headers["location"])
    return browser, await browser.get(f"{back.path}?{back.query}")


async def claims(issuer: str, sub: str, **given: object) -> None:
    async with httpx2.AsyncClient() as client:
        (await client.put(f"{issuer}/users/{sub}", json=given)).raise_for_status()


async def test_a_person_signs_in_and_only_a_verified_address_is_kept(
    signing_in: tuple[Installation, str],
) -> None:
    installation, issuer = signing_in
    for verified, kept in ((True, "ada@example.com"), (False, None)):
        sub = f"ada-{verified}"
        await claims(issuer, sub, name="Ada", email="ada@example.com", email_verified=verified)
        browser, answer = await sign_in(installation, "oidc", sub)
        assert (answer.status_code, answer.headers.get("location")) == (303, "/"), answer.text
        me = (await browser.get("/v1/me")).json()
        assert (me["name"], me["email"]) == ("Ada", kept)


async def test_a_new_person_has_a_name_even_while_the_view_is_behind(
    signing_in: tuple[Installation, str], module_dsn: str
) -> None:
    installation, issuer = signing_in
    await claims(issuer, "eve", name="Eve", email="eve@example.com", email_verified=True)
    async with await psycopg.AsyncConnection.connect(module_dsn) as held:
        await held.execute("SELECT position FROM users_directory.checkpoint FOR UPDATE")
        browser, answer = await sign_in(installation, "oidc", "eve")
        assert answer.status_code == 303, answer.text
        asked = [asyncio.create_task(browser.get(path)) for path in ("/v1/me", "/v1/orgs")]
        early, _ = await asyncio.wait(asked, timeout=0.3)
        assert not early, "answered out of a view that does not know the person"
        await held.rollback()
        me, orgs = [(await answer).json() for answer in asked]
    assert (me["name"], me["email"]) == ("Eve", "eve@example.com")
    assert [(org["name"], org["role"]) for org in orgs["orgs"]] == [("Eve's organisation", "owner")]


async def test_an_account_of_another_domain_is_refused(signing_in: tuple[Installation, str]) -> None:
    installation, issuer = signing_in
    for domain, status in (("evil.example", 403), ("example.com", 303)):
        sub = f"bob@{domain}"
        await claims(issuer, sub, name="Bob", email=sub, email_verified=True, hd=domain)
        _, answer = await sign_in(installation, "google", sub)
        assert answer.status_code == status, answer.text
