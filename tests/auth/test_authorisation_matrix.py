"""Every operation with every role, with another organisation's ids, and with every kind of bad token."""

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_args

import httpx2
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from identity_stack import Installation, installed
from remote_claude.access import credential_secrets
from remote_claude.access.permissions import PERMISSIONS, PERSONAL
from remote_claude.auth import token_signing
from remote_claude.auth.tickets import Tickets
from remote_claude.auth.token_signing import SigningKeys
from remote_claude.billing.handlers import Accounts
from remote_claude.billing.service import build as build_billing
from remote_claude.contracts.users import Role
from remote_claude.runtime.ids import new_id
from servers import Broker, Database

pytestmark = pytest.mark.asyncio(loop_scope="module")
ORG = "Rclaude-Org"
ENDS_ITS_OWN_WORLD = {"delete_org", "leave_org", "delete_account", "end_session", "transfer_org"}
"""What would take the ground from the requests after it, where it is allowed."""
EMPTY_FOR_NOTHING = {"get_batch_bill"}
"""What sums up tasks, and has none of an id that is not known."""
IDS = {
    "task": "task",
    "user": "user",
    "invitation": "invitation",
    "key": "key",
    "session": "session",
    "org": "org",
    "webhook": "hook",
    "service_account": "sa",
    "team": "team",
    "batch": "batch",
    "share": "share",
    "schedule": "schedule",
    "trigger": "trigger",
    "ticket": "ticket",
}


@dataclass(frozen=True)
class Operation:
    """A route: how to call it, and which ids it takes."""

    name: str
    method: str
    path: str

    @property
    def ids(self) -> list[str]:
        return [name for name in re.findall(r"{(\w+)}", self.path) if name in IDS]

    def url(self, known: dict[str, str]) -> str:
        return re.sub(r"{(\w+)}", lambda m: known.get(m[1], "github"), self.path)


@dataclass(frozen=True)
class World:
    """An organisation with a person of each role, and what another organisation has."""

    installation: Installation
    org: str
    people: dict[str, httpx2.AsyncClient]
    foreign: dict[str, str]
    operations: dict[str, Operation]


def fresh() -> dict[str, str]:
    """Ids of nothing."""
    return {name: new_id(prefix) for name, prefix in IDS.items()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    module_nats: Broker, postgres_server: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("matrix")
    with postgres_server.fresh() as dsn:
        async with installed(module_nats, dsn, folder, more=[build_billing]) as installation:
            yield await populated(installation)


async def populated(installation: Installation) -> World:
    owner = await installation.browser()

    async def made(path: str, body: dict[str, Any], org: str = "") -> dict[str, Any]:
        answer = await owner.post(path, json=body, headers={ORG: org} if org else {})
        assert answer.is_success, answer.text
        return dict(answer.json())

    org = (await made("/v1/orgs", {"name": "Acme"}))["id"]
    other = (await made("/v1/orgs", {"name": "Other"}))["id"]
    runtime = installation.host.runtime
    await Accounts(runtime.log, runtime.clock).set_plan(org, "enterprise")
    await Accounts(runtime.log, runtime.clock).set_plan(other, "enterprise")
    people = {}
    for role in get_args(Role):
        _, browser = await installation.another(role)
        invited = await made("/v1/org/invitations", {"role": role}, org)
        token = invited["url"].rpartition("token=")[2]
        joined = await browser.post("/v1/invitations/accept", json={"token": token})
        assert joined.is_success, joined.text
        browser.headers[ORG] = org
        people[role] = browser
    foreign = {
        "org": other,
        "user": installation.owner.user,
        "session": (await owner.get("/v1/session")).json()["session"],
        "invitation": (await made("/v1/org/invitations", {"role": "member"}, other))["id"],
        "service_account": (await made("/v1/org/service-accounts", {"name": "CI"}, other))["id"],
        "key": (await made("/v1/keys", {"name": "CI"}, other))["id"],
        "webhook": (await made("/v1/webhooks", {"url": "https://ci.example/hook"}, other))["id"],
        "task": (await made("/v1/tasks", {"prompt": "x", "agent": "shell"}, other))["id"],
    }
    shell = {"prompt": "x", "agent": "shell"}
    trigger = {"allow": ["ada"], "repositories": ["acme/app"], "task": {"agent": "shell"}}
    foreign |= {
        "team": (await made("/v1/org/teams", {"name": "core"}, other))["id"],
        "batch": (await made("/v1/batches", {"items": [shell]}, other))["id"],
        "share": (await made(f"/v1/tasks/{foreign['task']}/shares", {}, other))["id"],
        "schedule": (await made("/v1/schedules", {"cron": "0 7 * * *", "task": shell}, other))["id"],
        "trigger": (await made("/v1/triggers", trigger, other))["id"],
        "ticket": (await made("/v1/org/tickets", {"title": "x", "text": "y"}, other))["id"],
    }
    left = await owner.post("/v1/org/leave", headers={ORG: org})
    assert left.is_success, left.text
    document = (await owner.get("/openapi.json")).json()
    operations = {
        operation["operationId"]: Operation(operation["operationId"], method.upper(), path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in ("get", "put", "post", "patch", "delete", "head")
        and operation["operationId"] in {*PERMISSIONS, *PERSONAL}
    }
    assert len(operations) > 50
    return World(installation, org, people, foreign, operations)


def code(answer: httpx2.Response) -> str:
    problem = answer.headers.get("content-type", "") == "application/problem+json"
    return str(answer.json()["code"]) if problem and answer.content else ""


async def ask(
    client: httpx2.AsyncClient, operation: Operation, ids: dict[str, str], **more: Any
) -> httpx2.Response:
    bodies = {
        "change_role": {"role": "member"},
        "transfer_org": {"user": ids["user"]},
        "send_message": {"text": "x"},
        "answer_ticket": {"text": "x"},
        "answer_permission": {"decision": "allow"},
    }
    body = None if operation.method in ("GET", "HEAD") else bodies.get(operation.name, {})
    return await client.request(operation.method, operation.url(ids), json=body, **more)


async def test_a_role_may_what_the_table_says_and_nothing_else(world: World) -> None:
    wrong = []
    for name, operation in world.operations.items():
        if name not in PERMISSIONS:
            continue
        for role, browser in world.people.items():
            allowed = role in PERMISSIONS[name].roles
            if allowed and name in ENDS_ITS_OWN_WORLD:
                continue
            answer = await ask(browser, operation, fresh())
            refused = answer.status_code == 403 and code(answer) in ("", "role_missing", "scope_missing")
            may_be_scope = code(answer) == "scope_missing"
            if answer.status_code >= 500 or (refused == allowed and not (allowed and may_be_scope)):
                wrong.append((name, role, answer.status_code, answer.text[:100]))
    assert wrong == []


async def test_an_operator_sets_the_plan_of_any_organisation(world: World) -> None:
    operator, path = world.installation.by_key, f"/v1/orgs/{world.foreign['org']}/plan"
    answer = await operator.put(path, json={"plan": "enterprise"})
    assert (answer.status_code, answer.json()["plan"]) == (200, "enterprise"), answer.text
    assert code(await operator.put(path, json={"plan": "none"})) == "unknown_plan"
    unknown = await operator.put(f"/v1/orgs/{new_id('org')}/plan", json={"plan": "enterprise"})
    assert code(unknown) == "org_not_found"


async def test_a_foreign_id_answers_as_one_that_does_not_exist(world: World) -> None:
    """The texts are the same but for the id itself."""
    compared = 0
    for operation in world.operations.values():
        if not operation.ids or operation.name in ENDS_ITS_OWN_WORLD:
            continue
        if operation.name in PERMISSIONS and PERMISSIONS[operation.name].scope == "operations":
            continue  # an operator reaches every organisation
        nothing = fresh()
        foreign = await ask(world.people["owner"], operation, world.foreign)
        unknown = await ask(world.people["owner"], operation, nothing)
        texts = [foreign.text, unknown.text]
        for name in operation.ids:
            texts = [texts[0].replace(world.foreign[name], name), texts[1].replace(nothing[name], name)]
        assert (foreign.status_code, texts[0]) == (unknown.status_code, texts[1]), operation.name
        assert not foreign.is_success or operation.name in EMPTY_FOR_NOTHING, operation.name
        compared += 1
    assert compared > 15
    for listing in ("list_members", "list_tasks", "list_audit", "list_keys"):
        answers = [
            await ask(world.people["owner"], world.operations[listing], fresh(), headers={ORG: org})
            for org in (world.foreign["org"], new_id("org"))
        ]
        assert [(answer.status_code, code(answer)) for answer in answers] == [(404, "org_not_found")] * 2


async def bad_tokens(world: World, monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    runtime = world.installation.host.runtime
    browser = await world.installation.browser()
    session = (await browser.get("/v1/session")).json()["session"]
    user = world.installation.owner.user

    async def keys(late: timedelta = timedelta(0)) -> SigningKeys:
        made = SigningKeys(
            runtime.log, Tickets(runtime.keyring, runtime.clock), lambda: runtime.clock() - late
        )
        await made.rotate()
        return made

    good = (await keys()).token(user, session)
    client = world.installation.client(good)
    assert (await client.get("/v1/me")).status_code == 200, (
        "the other tokens are bad for their own reason only"
    )
    expired = (await keys(timedelta(minutes=10))).token(user, session)
    monkeypatch.setattr(token_signing, "AUDIENCE", "another")
    audience = (await keys()).token(user, session)
    monkeypatch.undo()
    monkeypatch.setattr(token_signing, "ISSUER", "another")
    issuer = (await keys()).token(user, session)
    monkeypatch.undo()
    claims = good.split(".")[1]
    head = urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).decode().rstrip("=")
    ended = await world.installation.browser()
    gone = (await ended.get("/v1/session")).json()["session"]
    assert (await ended.delete("/v1/session")).status_code == 204
    return {
        "none": None,
        "expired": expired,
        "audience": audience,
        "issuer": issuer,
        "alg none": f"{head}.{claims}.",
        "truncated": good[:-9],
        "another signature": good.rpartition(".")[0] + "." + "A" * 86,
        "session ended": (await keys()).token(user, gone),
        "unknown key": credential_secrets.generate(),
        "truncated key": world.installation.owner.api_key[:-1],
    }


async def test_a_bad_token_is_refused_everywhere(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for what, token in (await bad_tokens(world, monkeypatch)).items():
        client = world.installation.client(token)
        for operation in world.operations.values():
            answer = await ask(client, operation, fresh())
            assert answer.status_code == 401, (what, operation.name, answer.text)
        url = f"ws://127.0.0.1:{world.installation.host.port}/v1/stream"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with connect(url, additional_headers=headers, proxy=None) as socket:
            if token is None:
                await socket.send("{}")  # the token may be the first message
            assert json.loads(await socket.recv())["code"] == "unauthenticated", what
            await socket.wait_closed()
            assert socket.close_code == 4401, what


async def test_what_ends_its_own_world_is_done_where_it_is_allowed(world: World) -> None:
    """These operations are left out above: after each of them, who asked for it can't ask much more."""
    own = await populated(world.installation)
    users = {role: (await browser.get("/v1/session")).json()["user"] for role, browser in own.people.items()}

    async def does(role: str, name: str, status: int, **ids: str) -> None:
        answer = await ask(own.people[role], own.operations[name], fresh() | ids)
        assert answer.status_code == status, (role, name, answer.text)

    await does("owner", "transfer_org", 200, user=users["member"])  # the member is the owner now
    await does("owner", "delete_org", 403)
    for role in ("owner", "admin", "billing"):
        await does(role, "leave_org", 200)
        await does(role, "list_members", 404)
    await does("member", "delete_org", 200)
    await does("member", "list_members", 404)
    await does("billing", "end_session", 204)
    await does("billing", "get_me", 401)
    await does("admin", "delete_account", 204)
    await does("admin", "get_me", 401)
