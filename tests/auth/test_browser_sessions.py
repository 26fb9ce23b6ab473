"""A browser of the local owner: signed in by a link, used, signed out."""

import json

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Origin

from event_logs import everything
from identity_stack import CSRF, Installation

pytestmark = pytest.mark.asyncio(loop_scope="module")

TASK = {"prompt": "do it", "agent": "shell"}


async def test_a_link_signs_a_browser_in_as_the_owner(installation: Installation) -> None:
    link = (await installation.by_key.post("/v1/session/links")).json()["url"]
    browser = installation.client()
    answer = await browser.get(link)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert f"rclaude-{installation.host.port}=rcs_" in cookie
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    who = (await browser.get("/v1/session")).json()
    assert (who["user"], who["org"], who["role"]) == (
        installation.owner.user,
        installation.owner.org,
        "owner",
    )
    assert who["credential"] == "session"
    assert (await browser.get("/v1/tasks")).status_code == 200


async def test_a_link_leads_to_a_page_of_this_server_only(installation: Installation) -> None:
    for wanted, location in (
        ("%2Ftasks%2Ftask_1", "/tasks/task_1"),
        ("%2F%2Fevil.example", "/"),
        ("https%3A%2F%2Fevil.example", "/"),
    ):
        link = (await installation.by_key.post("/v1/session/links")).json()["url"]
        answer = await installation.client().get(f"{link}&next={wanted}")
        assert (answer.status_code, answer.headers["location"]) == (303, location)


async def test_a_link_is_good_once(installation: Installation) -> None:
    link = (await installation.by_key.post("/v1/session/links")).json()["url"]
    assert (await installation.client().get(link)).status_code == 303
    again = await installation.client().get(link)
    assert (again.status_code, again.json()["code"]) == (410, "sign_in_used")
    assert "set-cookie" not in again.headers


async def test_a_changed_link_is_refused(installation: Installation) -> None:
    link = (await installation.by_key.post("/v1/session/links")).json()["url"]
    other = link[:-20] + ("A" if link[-20] != "A" else "B") + link[-19:]
    for changed in (link[:-4], other, link.split("=")[0] + "=x"):
        answer = await installation.client().get(changed)
        assert (answer.status_code, answer.json()["code"]) == (400, "ticket_refused")


async def test_a_changing_request_needs_the_csrf_token_and_the_own_origin(installation: Installation) -> None:
    browser = await installation.browser()
    answer = await browser.post("/v1/tasks", json=TASK)
    assert answer.status_code in (201, 202), answer.text
    foreign = await browser.get("/v1/tasks", headers={"Origin": "https://evil.example"})
    assert (foreign.status_code, foreign.json()["code"]) == (403, "csrf_refused")
    own = await browser.get("/v1/tasks", headers={"Origin": installation.url})
    assert own.status_code == 200
    for token in ("", "0" * 64):
        refused = await browser.post("/v1/tasks", json=TASK, headers={CSRF: token})
        assert (refused.status_code, refused.json()["code"]) == (403, "csrf_refused")


async def test_a_session_names_its_organisation_and_no_other(installation: Installation) -> None:
    browser = await installation.browser()
    mine = await browser.get("/v1/tasks", headers={"Rclaude-Org": installation.owner.org})
    assert mine.status_code == 200
    for org in ("org_00000000000000000000000000", "x"):
        answer = await browser.get("/v1/tasks", headers={"Rclaude-Org": org})
        assert (answer.status_code, answer.json()["code"]) == (404, "org_not_found")


async def test_signing_out_ends_the_session_and_its_sockets(installation: Installation) -> None:
    browser = await installation.browser()
    [(name, value)] = browser.cookies.items()
    headers = {"Cookie": f"{name}={value}"}
    url = f"ws://127.0.0.1:{installation.host.port}/v1/stream"
    async with connect(url, additional_headers=headers, origin=None, proxy=None) as foreign:
        said = json.loads(await foreign.recv())
        assert (said["type"], said["code"]) == ("error", "csrf_refused")
    async with connect(
        url, additional_headers=headers, origin=Origin(installation.url), proxy=None
    ) as socket:
        await socket.send(json.dumps({"type": "ping"}))
        assert json.loads(await socket.recv())["type"] == "heartbeat"
        assert (await browser.delete("/v1/session")).status_code == 204
        await socket.wait_closed()
        assert socket.close_code == 4401
    again = await installation.client().get("/v1/tasks", headers=headers)
    assert (again.status_code, again.json()["code"]) == (401, "unauthenticated")


async def test_an_api_key_has_no_session_to_end(installation: Installation) -> None:
    key = installation.by_key
    who = (await key.get("/v1/session")).json()
    assert (who["credential"], who["session"], who["csrf_token"]) == ("api_key", None, None)
    assert (await key.delete("/v1/session")).json()["code"] == "no_session"
    assert (await installation.client().get("/v1/session")).status_code == 401


async def test_neither_cookie_nor_address_is_in_the_log(installation: Installation) -> None:
    browser = await installation.browser()
    [(_, value)] = browser.cookies.items()
    recorded = await everything(installation.host.runtime.log)
    opened = [event for event in recorded if event.type == "SessionOpened"]
    assert opened
    text = b"".join(bytes(event.data) for event in recorded)
    assert value.encode() not in text
    assert b"127.0.0.1" not in text
    assert b"python-httpx" not in text
