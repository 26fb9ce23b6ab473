"""Teams: groups of members who see each other's tasks, and own labels, budgets and API keys."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from gateway_stack import eventually
from identity_stack import Installation, installed
from remote_claude.runtime.ids import new_id
from servers import Broker, Database

pytestmark = pytest.mark.asyncio(loop_scope="module")
ORG = "Rclaude-Org"
SHELL = {"prompt": "echo", "agent": "shell"}


@dataclass
class Acme:
    """An organisation: Ada owns it; Bob and Carol are in the team core, Dan is in none. All three are members."""

    installation: Installation
    org: str
    ada: httpx2.AsyncClient
    people: dict[str, tuple[str, httpx2.AsyncClient]]
    core: str
    position: int = 0
    """That of the last submission."""

    async def may_see(self, visibility: str) -> None:
        answer = await self.ada.put("/v1/org/policy", json={"task_visibility": visibility})
        assert answer.is_success, answer.text

    async def submit(self, who: httpx2.AsyncClient, **body: Any) -> str:
        answer = await who.post("/v1/tasks", json={**SHELL, **body})
        assert answer.status_code == 202, answer.text
        self.position = answer.json()["position"]
        return str(answer.json()["id"])

    async def listed(self, who: httpx2.AsyncClient) -> set[str]:
        """The tasks that somebody's list shows; it has what was submitted before."""
        answer = await who.get("/v1/tasks", params={"limit": 100, "min_position": self.position})
        assert answer.is_success, answer.text
        return {task["id"] for task in answer.json()["tasks"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    module_nats: Broker, postgres_server: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """Nothing here decides on tasks: a submission waits for no decision."""
    with postgres_server.fresh() as dsn:
        folder = tmp_path_factory.mktemp("teams")
        async with installed(module_nats, dsn, folder, {"RCLAUDE_GATEWAY_ADMISSION_WAIT_S": "0"}) as running:
            yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def acme(installation: Installation) -> Acme:
    ada = await installation.browser()
    org = (await ada.post("/v1/orgs", json={"name": "Acme"})).json()["id"]
    ada.headers[ORG] = org
    people = {}
    for name in ("bob", "carol", "dan"):
        user, browser = await installation.another(name)
        link = (await ada.post("/v1/org/invitations", json={"role": "member"})).json()["url"]
        joined = await browser.post("/v1/invitations/accept", json={"token": link.rpartition("token=")[2]})
        assert joined.is_success, joined.text
        browser.headers[ORG] = org
        people[name] = (user, browser)
    core = (await ada.post("/v1/org/teams", json={"name": "core"})).json()["id"]
    for name in ("bob", "carol"):
        added = await ada.put(f"/v1/org/teams/{core}/members/{people[name][0]}")
        assert added.is_success, added.text
    return Acme(installation, org, ada, people, core)


async def test_members_of_a_team_see_each_others_tasks_and_nobody_elses(acme: Acme) -> None:
    bob, carol, dan = (acme.people[name][1] for name in ("bob", "carol", "dan"))
    by_bob, by_dan = await acme.submit(bob), await acme.submit(dan)
    assert {by_bob, by_dan} <= await acme.listed(dan)  # without a rule, members see all

    await acme.may_see("team")
    assert [await acme.listed(who) & {by_bob, by_dan} for who in (acme.ada, bob, carol, dan)] == [
        {by_bob, by_dan}, {by_bob}, {by_bob}, {by_dan}
    ]  # fmt: skip
    assert (await carol.get(f"/v1/tasks/{by_bob}")).json()["team"] == acme.core
    assert (await carol.post(f"/v1/tasks/{by_bob}/cancel")).status_code == 202

    await acme.may_see("own")
    assert [await acme.listed(who) & {by_bob, by_dan} for who in (bob, carol, dan)] == [
        {by_bob},
        set(),
        {by_dan},
    ]
    await acme.may_see("team")


BODIES: dict[str, dict[str, str]] = {
    "messages": {"text": "x"},
    "shares": {},
    "{request}": {"decision": "allow"},
}
"""What routes about a task take, by the end of their path."""


async def test_a_task_that_one_may_not_see_answers_as_one_that_does_not_exist(acme: Acme) -> None:
    await acme.may_see("team")
    hidden, unknown = await acme.submit(acme.people["bob"][1]), new_id("task")
    dan = acme.people["dan"][1]
    document = (await dan.get("/openapi.json")).json()
    asked = 0
    for path, methods in document["paths"].items():
        if "{task}" not in path:
            continue
        for method in methods:
            body = BODIES.get(path.rpartition("/")[2])
            answers = [
                await dan.request(method, path.replace("{task}", task), json=body)
                for task in (hidden, unknown)
            ]
            texts = [a.text.replace(t, "TASK") for a, t in zip(answers, (hidden, unknown), strict=True)]
            assert answers[0].status_code == answers[1].status_code == 404, (path, texts)
            assert texts[0] == texts[1], path
            asked += 1
    assert asked >= 9
    continued = [await dan.post("/v1/tasks", json={**SHELL, "continues": t}) for t in (hidden, unknown)]
    assert [a.json()["code"] for a in continued] == ["task_not_found"] * 2


async def test_the_live_stream_tells_a_member_of_no_task_that_is_hidden(acme: Acme) -> None:
    await acme.may_see("team")
    bob, dan = acme.people["bob"][1], acme.people["dan"][1]
    hidden = await acme.submit(bob)
    cookies = "; ".join(f"{name}={value}" for name, value in dan.cookies.items())
    headers = {"Cookie": cookies, "Origin": acme.installation.url}
    url = f"{acme.installation.url.replace('http', 'ws')}/v1/stream?org={acme.org}"
    async with connect(url, additional_headers=headers) as socket:
        await socket.send(json.dumps({"type": "follow"}))
        await socket.send(json.dumps({"type": "subscribe", "task": hidden}))
        frames: list[dict[str, Any]] = []
        while not frames or frames[-1]["type"] != "error":
            frames.append(json.loads(await socket.recv()))
        assert frames[-1]["code"] == "task_not_found"
        other, own = await acme.submit(bob), await acme.submit(dan)
        named: set[str] = set()
        while own not in named:
            named |= set(json.loads(await socket.recv()).get("tasks") or ())
        assert not named & {hidden, other}

        batch = {"items": [SHELL]}
        others, mine = [(await who.post("/v1/batches", json=batch)).json()["id"] for who in (bob, dan)]
        seen: set[str] = set()
        while mine not in seen:
            seen.add(json.loads(await socket.recv()).get("batch"))
        assert others not in seen
        await acme.may_see("organisation")  # the socket sees by the rule that it was opened under
        with contextlib.suppress(ConnectionClosed):
            async for _ in socket:
                pass
        assert socket.close_reason == "permissions_changed"


async def test_a_team_owns_labels_and_api_keys_that_end_with_it(acme: Acme) -> None:
    await acme.may_see("team")
    bob_id, bob = acme.people["bob"]
    _, dan = acme.people["dan"]
    docs = (await acme.ada.post("/v1/org/teams", json={"name": "docs"})).json()["id"]
    assert (await acme.ada.put(f"/v1/org/teams/{docs}/members/{bob_id}")).is_success
    owned = await acme.ada.put(f"/v1/org/teams/{docs}/labels", json={"labels": {"cost": "4711"}})
    assert owned.is_success, owned.text
    taken = await acme.ada.put(f"/v1/org/teams/{acme.core}/labels", json={"labels": {"cost": "4711"}})
    assert taken.json()["code"] == "label_taken"

    # a task of the team bears the label, of others it may not
    task = await acme.submit(bob, team=docs)
    seen = {"min_position": acme.position}
    shown = (await bob.get(f"/v1/tasks/{task}", params=seen)).json()
    assert (shown["team"], shown["labels"]) == (docs, {"cost": "4711"})
    for who in (bob, dan):  # bob's task is of the team core by default
        refused = await who.post("/v1/tasks", json={**SHELL, "labels": {"cost": "4711"}})
        assert refused.json()["code"] == "label_of_team", refused.text
    assert (await dan.post("/v1/tasks", json={**SHELL, "team": docs})).json()["code"] == "team_not_found"

    # a key of the team acts for it
    assert (await bob.post("/v1/keys", json={"name": "ci", "team": docs})).json()["code"] == "role_missing"
    made = (await acme.ada.post("/v1/keys", json={"name": "ci", "team": docs, "scopes": ["tasks"]})).json()
    ci = acme.installation.client(made["secret"])
    assert (await ci.get("/v1/me")).json()["name"] == "docs"
    by_key = await acme.submit(ci)
    assert {task, by_key} <= await acme.listed(ci)
    assert by_key in await acme.listed(bob)
    assert by_key not in await acme.listed(dan)
    assert docs in {key["user"] for key in (await bob.get("/v1/keys")).json()["keys"]}

    [shown] = [t for t in (await dan.get("/v1/org/teams")).json()["teams"] if t["id"] == docs]
    assert (shown["name"], [m["name"] for m in shown["members"]]) == ("docs", ["bob"])
    assert (await bob.delete(f"/v1/org/teams/{docs}")).status_code == 403
    assert (await acme.ada.delete(f"/v1/org/teams/{docs}")).status_code == 204
    assert (await ci.get("/v1/tasks")).status_code == 401

    async def audited() -> bool:
        entries = (await acme.ada.get("/v1/org/audit", params={"limit": 100})).json()["entries"]
        done = {(e["action"], e["kind"], e["name"], e["address"], e["details"].get("team")) for e in entries}
        owner = (await acme.ada.get("/v1/me")).json()["name"]
        return {
            ("TaskSubmitted", "person", "bob", "127.0.0.1", docs),
            ("TaskCancellationRequested", "person", "carol", "127.0.0.1", None),
            ("TeamDeleted", "person", owner, "127.0.0.1", docs),
        } <= done

    await eventually(audited, "who did what to which task is in the audit")


async def test_a_member_who_leaves_the_organisation_leaves_its_teams(acme: Acme) -> None:
    user, browser = await acme.installation.another("eve")
    link = (await acme.ada.post("/v1/org/invitations", json={"role": "member"})).json()["url"]
    await browser.post("/v1/invitations/accept", json={"token": link.rpartition("token=")[2]})
    assert (await acme.ada.put(f"/v1/org/teams/{acme.core}/members/{user}")).is_success
    await acme.ada.delete(f"/v1/org/members/{user}")
    refused = await acme.ada.put(f"/v1/org/teams/{acme.core}/members/{user}")
    assert refused.json()["code"] == "member_not_found"
    verifier = acme.installation.host.runtime.verifier
    assert verifier.teams.of(acme.org, user) == ()
