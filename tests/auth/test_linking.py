"""A second account signs a person in: only with a verified address, and after they confirmed it."""

import re
from collections.abc import AsyncIterator
from html import unescape
from urllib.parse import urlsplit

import httpx2
import oidc_provider_mock
import pytest
import pytest_asyncio

from event_logs import everything
from identity_stack import Installation, installed
from servers import Broker, Database

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def linking(
    module_nats: Broker, postgres_server: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Installation, str]]:
    with oidc_provider_mock.run_server_in_thread() as server, postgres_server.fresh() as dsn:
        issuer = f"http://localhost:{server.server_port}"
        environment = {
            "RCLAUDE_AUTH_OIDC_ISSUER": issuer,
            "RCLAUDE_AUTH_OIDC_CLIENT_ID": "rclaude",
            "RCLAUDE_AUTH_OIDC_CLIENT_SECRET": "made-up",
        }
        async with installed(module_nats, dsn, tmp_path_factory.mktemp("linking"), environment) as running:
            yield running, issuer


async def back_from_provider(browser: httpx2.AsyncClient, path: str, sub: str) -> httpx2.Response:
    """The answer to a browser that comes back from the issuer as this account."""
    begun = await browser.get(path)
    assert begun.status_code == 303, begun.text
    agreed = await browser.post(begun.headers["location"], data={"sub": sub})
    back = urlsplit(agreed.headers["location"])
    return await browser.get(f"{back.path}?{back.query}")


def form(page: str) -> dict[str, str]:
    return {name: unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', page)}


async def test_an_account_is_linked_only_with_a_verified_address_and_after_a_confirmation(
    linking: tuple[Installation, str],
) -> None:
    installation, issuer = linking
    async with httpx2.AsyncClient() as issuing:
        for sub, verified in (("ada", True), ("eve", False)):
            profile = {"name": sub.title(), "email": f"{sub}@example.com", "email_verified": verified}
            (await issuing.put(f"{issuer}/users/{sub}", json=profile)).raise_for_status()
    owner = await installation.browser()

    refused = await back_from_provider(owner, "/auth/identities/oidc", "eve")
    assert (refused.status_code, refused.json()["code"]) == (403, "sign_in_failed")
    assert "verified" in refused.json()["detail"]

    asked = await back_from_provider(owner, "/auth/identities/oidc?next=/done", "ada")
    assert asked.status_code == 200
    assert "Ada (ada@example.com)" in asked.text
    linked = [e for e in await everything(installation.host.runtime.log) if e.type == "IdentityLinked"]
    assert linked == [], "nothing is linked before it is confirmed"

    _, other = await installation.another("Bob")
    given = form(asked.text)
    by_other = await other.post(
        "/auth/identities", data=given | {"csrf_token": other.headers["X-CSRF-Token"]}
    )
    assert by_other.json()["code"] == "ticket_refused"
    unconfirmed = await owner.post("/auth/identities", data=given | {"csrf_token": "another"})
    assert unconfirmed.json()["code"] == "csrf_refused"

    done = await owner.post("/auth/identities", data=given)
    assert (done.status_code, done.headers["location"]) == (303, "/done")
    later = installation.client()
    assert (await back_from_provider(later, "/auth/sign-in/oidc", "ada")).status_code == 303
    assert (await later.get("/v1/session")).json()["user"] == installation.owner.user
