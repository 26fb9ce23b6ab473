"""People sign in with GitHub, in a real browser, at an emulator of GitHub that is not ours."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright

import browsers
from emulate_peer import Emulator, emulated_github
from event_logs import everything
from identity_stack import Installation, installed
from rclaude_process import rclaude
from remote_claude.runtime.embedded.home import free_port
from servers import Broker, Database

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADA = {"login": "ada", "name": "Ada Lovelace", "email": "ada@example.com"}
BOB = {"login": "bob", "name": "Bob", "email": "bob@example.com"}


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def github(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    callback = f"http://127.0.0.1:{port}/auth/callback/github"
    with emulated_github(tmp_path_factory.mktemp("github"), [callback], ADA, BOB) as emulator:
        yield emulator


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def signing_in(
    module_nats: Broker,
    postgres_server: Database,
    tmp_path_factory: pytest.TempPathFactory,
    github: Emulator,
    port: int,
) -> AsyncIterator[Installation]:
    with postgres_server.fresh() as dsn:
        folder = tmp_path_factory.mktemp("signing-in")
        async with installed(module_nats, dsn, folder, github.environment(), port=port) as running:
            yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=browsers.chromium(), args=browsers.ARGUMENTS
        )
        yield browser
        await browser.close()


async def sign_in(context: BrowserContext, url: str, login: str, next: str = "/v1/session") -> Any:
    """Sign in as this GitHub user; the page that the browser ends on."""
    page = await context.new_page()
    await page.goto(f"{url}/auth/sign-in?next={next}")
    await page.get_by_role("link", name="Continue with GitHub").click()
    await page.get_by_role("button", name=re.compile(rf"\b{login}\b", re.IGNORECASE)).click()
    await page.wait_for_url(f"{url}{next}")
    return page


async def test_a_person_signs_in_with_github_and_has_an_organisation(
    signing_in: Installation, chromium: Browser
) -> None:
    context = await chromium.new_context()
    await sign_in(context, signing_in.url, "ada")
    answer = await context.request.get(f"{signing_in.url}/v1/session")
    who = await answer.json()
    assert (who["role"], who["credential"]) == ("owner", "session")
    assert "operations" not in who["scopes"]
    me = await (await context.request.get(f"{signing_in.url}/v1/me")).json()
    assert (me["user"], me["name"], me["email"]) == (who["user"], "Ada Lovelace", "ada@example.com")
    orgs = (await (await context.request.get(f"{signing_in.url}/v1/orgs")).json())["orgs"]
    assert [(o["id"], o["name"], o["personal"], o["role"]) for o in orgs] == [
        (who["org"], "Ada Lovelace's organisation", True, "owner")
    ]
    assert (await context.request.get(f"{signing_in.url}/v1/status")).status == 403
    submitted = await context.request.post(
        f"{signing_in.url}/v1/tasks",
        data={"prompt": "do it", "agent": "shell"},
        headers={"X-CSRF-Token": who["csrf_token"]},
    )
    assert submitted.status in (201, 202), await submitted.text()
    task = (await submitted.json())["id"]
    assert (await context.request.get(f"{signing_in.url}/v1/tasks/{task}")).status == 200
    others = signing_in.by_key
    assert (await others.get(f"/v1/tasks/{task}")).status_code == 404
    await context.close()


async def test_a_person_who_comes_back_is_the_same_and_another_is_another(
    signing_in: Installation, chromium: Browser
) -> None:
    seen = []
    for login in ("ada", "bob", "ada"):
        context = await chromium.new_context()
        await sign_in(context, signing_in.url, login)
        seen.append((await (await context.request.get(f"{signing_in.url}/v1/session")).json())["user"])
        await context.close()
    assert seen[0] == seen[2] != seen[1]


async def test_a_callback_without_its_own_browser_or_with_another_state_is_refused(
    signing_in: Installation,
) -> None:
    browser = signing_in.client()
    begun = await browser.get("/auth/sign-in/github?next=//evil.example")
    assert begun.status_code == 303
    state = re.search(r"[?&]state=([^&]+)", begun.headers["location"])
    assert state is not None
    assert "code_challenge_method=S256" in begun.headers["location"]
    other = signing_in.client()
    for client, given in ((other, state[1]), (browser, "another"), (browser, "")):
        answer = await client.get("/auth/callback/github", params={"code": "x", "state": given})
        assert (answer.status_code, answer.json()["code"]) == (400, "ticket_refused")
    answer = await browser.get("/auth/callback/github", params={"code": "made-up", "state": state[1]})
    assert (answer.status_code, answer.json()["code"]) == (403, "sign_in_failed")


async def test_personal_data_is_sealed_in_the_log(signing_in: Installation, tmp_path: Path) -> None:
    recorded = await everything(signing_in.host.runtime.log)
    assert {"IdentityLinked", "UserRegistered", "SessionOpened"} <= {event.type for event in recorded}
    text = b"".join(bytes(event.data) for event in recorded)
    for personal in (b"Lovelace", b"ada@example.com", b"octocat"):
        assert personal not in text


async def test_a_github_token_signs_a_machine_in(
    signing_in: Installation, github: Emulator, tmp_path: Path
) -> None:
    token = github.token("ada")
    code, out, err = await rclaude(tmp_path, "login", signing_in.url, "--github-token", GITHUB_TOKEN=token)
    assert code == 0, err
    assert token not in out + err
    code, out, err = await rclaude(tmp_path, "whoami")
    assert code == 0, err
    assert "access_token" in out
    code, out, err = await rclaude(tmp_path / "piped", "login", signing_in.url, "--github-token", given=token)
    assert code == 0, err
