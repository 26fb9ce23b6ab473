"""`rclaude org`, `rclaude service-account`: an organisation from its first member to its end, with a real mail server."""

import csv
import getpass
import json
import re
from collections.abc import AsyncIterator, Iterator
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiosmtpd.controller import Controller

from gateway_stack import eventually
from identity_stack import Installation, installed
from rclaude_process import rclaude, rclaude_admin, signed_in
from remote_claude.billing.service import build as build_billing
from remote_claude.eventsourcing import stream_id
from remote_claude.runtime.embedded.home import free_port
from remote_claude.runtime.ids import new_id
from servers import Broker, Database, running_nats

SUPPORT = "support@example.com"
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Inbox(list[Message]):
    """What a mail server has taken."""

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.append(message_from_bytes(envelope.content, policy=default))
        return "250 OK"


@pytest.fixture(scope="module")
def mail() -> Iterator[tuple[Inbox, str]]:
    inbox = Inbox()
    server = Controller(inbox, hostname="127.0.0.1", port=free_port())
    server.start()
    yield inbox, f"smtp+plain://127.0.0.1:{server.port}"
    server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    postgres_server: Database, mail: tuple[Inbox, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    environment = {
        "RCLAUDE_USERS_SMTP_URL": mail[1],
        "RCLAUDE_USERS_MAIL_FROM": "rc@example.com",
        "RCLAUDE_USERS_SUPPORT_ADDRESS": SUPPORT,
    }
    with running_nats() as broker, postgres_server.fresh() as dsn:
        assert isinstance(broker, Broker)
        folder = tmp_path_factory.mktemp("organisations")
        async with installed(broker, dsn, folder, environment, more=[build_billing]) as running:
            yield running


async def ok(home: Path, *arguments: str, **more: Any) -> str:
    code, out, err = await rclaude(home, *arguments, **more)
    assert code == 0, err
    return out.strip()


async def refused(home: Path, *arguments: str) -> str:
    code, _, err = await rclaude(home, *arguments)
    assert code in (2, 3), err
    return err


async def test_an_organisation_from_its_first_member_to_its_end(
    installation: Installation, mail: tuple[Inbox, str], tmp_path: Path
) -> None:
    ada, bob = tmp_path / "ada", tmp_path / "bob"
    await signed_in(installation, ada)
    bob_id, browser = await installation.another("Bob")
    await signed_in(installation, bob, browser=browser)
    org = await ok(ada, "org", "create", "Acme")
    await ok(ada, "org", "switch", org)

    # the plan free has one member
    runtime = installation.host.runtime

    async def has_a_plan() -> bool:
        return bool(await runtime.log.read_stream(stream_id("billing", org, "account", org)))

    await eventually(has_a_plan, "billing has opened the account", 60)
    assert "The plan allows one member" in await refused(ada, "org", "member", "invite", "bob@example.com")
    await rclaude_admin(installation, "plan", "set", org, "pro")

    # an invitation is mailed, sent again, and good once
    first = await ok(ada, "org", "member", "invite", "bob@example.com", "--role", "admin")
    [invited] = mail[0]
    assert (invited["To"], invited["From"]) == ("bob@example.com", "rc@example.com")
    body = invited.get_body().get_content()  # type: ignore[attr-defined]  # an EmailMessage, by its policy
    assert first in body
    assert "Acme" in body
    [invitation] = re.findall(r"invitation_\w{26}", await ok(ada, "org", "member", "list"))
    second = await ok(ada, "org", "member", "resend", invitation)
    assert len(mail[0]) == 2
    assert "no such invitation" in await refused(bob, "org", "join", first)
    assert await ok(bob, "org", "join", second) == f"joined {org}"
    assert "no such invitation" in await refused(bob, "org", "join", second)
    await ok(bob, "org", "switch", org)
    task = new_id("task")
    assert await ok(bob, "open", "--print", task) == f"{installation.url}/tasks/{task}?org={org}"

    # another one is revoked
    link = await ok(ada, "org", "member", "invite")
    [invitation] = re.findall(r"invitation_\w{26}", await ok(ada, "org", "member", "list"))
    await ok(ada, "org", "member", "remove", invitation)
    assert "no such invitation" in await refused(bob, "org", "join", link)

    # an admin is no owner; the ownership is transferred; the former owner leaves
    assert "Only an owner" in await refused(bob, "org", "member", "role", bob_id, "owner")
    assert "role" in await refused(bob, "org", "delete", org)
    assert "needs an owner" in await refused(ada, "org", "leave")
    await ok(ada, "org", "transfer", bob_id)
    await ok(ada, "org", "leave")
    assert bob_id not in await ok(ada, "org", "member", "list")
    assert org not in await ok(ada, "whoami")

    # a service account has keys of its own, which end with it
    account = await ok(bob, "service-account", "create", "CI")
    key = await ok(
        bob, "key", "create", "ci", "--service-account", account, "--scope", "org", "--scope", "tasks"
    )
    ci = installation.client(key)
    assert (await ci.get("/v1/tasks")).status_code == 200
    assert (await ci.delete("/v1/org")).json()["code"] == "role_missing"
    assert (await ci.get("/v1/session")).json()["credential"] == "service_account_key"
    assert (await ci.get("/v1/me")).json()["name"] == "CI"
    made = await ci.post("/v1/org/service-accounts", json={"name": "more"})
    assert made.status_code == 201
    audit = await ci.get("/v1/org/audit", params={"min_position": made.json()["position"]})
    [entry, *_] = audit.json()["entries"]
    assert [entry[name] for name in ("action", "kind", "user", "name")] == [
        "ServiceAccountCreated", "service_account", account, "CI"
    ]  # fmt: skip
    assert account in await ok(bob, "service-account", "list")
    await ok(bob, "service-account", "remove", account)
    assert (await ci.get("/v1/tasks")).status_code == 401
    assert "no such service account" in await refused(
        bob, "key", "create", "ci", "--service-account", account
    )

    # deleted, nobody acts for it; it comes back
    await ok(bob, "org", "delete", org)
    assert org not in await ok(bob, "whoami")
    assert "no organisation" in await refused(ada, "org", "restore", org)
    assert await ok(bob, "org", "restore", org) == f"{org} is back"
    await ok(bob, "org", "switch", org)
    assert bob_id in await ok(bob, "org", "member", "list")

    # all of that is in the audit: who, from where, to what, the operator too
    entries = [json.loads(line) for line in (await ok(bob, "audit", "--json", "--limit", "100")).splitlines()]
    done = {(e["action"], e["user"], e["details"].get("role")): e for e in entries}
    owner = installation.owner.user
    invited_by = done["MemberInvited", owner, "admin"]
    assert (invited_by["address"], invited_by["actor"][:8]) == ("127.0.0.1", "session_")
    assert invited_by["details"]["invitation"].startswith("invitation_")
    assert {("MemberJoined", bob_id, "admin"), ("OrgRestored", bob_id, None)} <= done.keys()
    [plan] = [e for e in entries if e["action"] == "PlanChanged" and e["details"]["plan"] == "pro"]
    assert plan["actor"] == f"operator/{getpass.getuser()}"
    assert [e["position"] for e in entries] == sorted((e["position"] for e in entries), reverse=True)
    table = list(csv.DictReader((await ok(bob, "audit", "--csv", "--limit", "3")).splitlines()))
    assert [row["action"] for row in table] == [e["action"] for e in entries[:3]]


async def test_a_ticket_is_opened_mailed_answered_by_mail_and_closed_where_the_plan_has_support(
    installation: Installation, mail: tuple[Inbox, str], tmp_path: Path
) -> None:
    ada, runtime = tmp_path / "ada", installation.host.runtime
    await signed_in(installation, ada)
    org = await ok(ada, "org", "create", "Tickets")
    await ok(ada, "org", "switch", org)
    assert "has no tickets" in await refused(ada, "support", "open", "It fails", "Why?")
    await rclaude_admin(installation, "plan", "set", org, "enterprise")

    mail[0].clear()
    ticket = await ok(ada, "support", "open", "It fails", "-", "--bundle", given="Why does it fail?")

    async def mailed() -> bool:
        return bool(mail[0])

    await eventually(mailed, "the ticket is mailed", 60)
    [sent] = mail[0]
    assert (sent["To"], sent["Reply-To"]) == (SUPPORT, SUPPORT)
    assert sent["Subject"].startswith(f"[{ticket}][priority] It fails")
    [attached] = sent.iter_attachments()  # type: ignore[attr-defined]  # an EmailMessage, by its policy
    assert attached.get_filename() == f"{ticket}.tar.gz"

    # the operator sees it, has its diagnostics, and answers by mail
    [waiting] = json.loads(await rclaude_admin(installation, "support", "list", "--json"))
    assert [waiting[n] for n in ("id", "org", "support", "answered", "title")] == [
        ticket, org, "priority", False, "It fails"
    ]  # fmt: skip
    await rclaude_admin(installation, "support", "bundle", ticket, str(tmp_path / "bundle.tar.gz"))
    assert (tmp_path / "bundle.tar.gz").read_bytes() == attached.get_content()
    reply = EmailMessage()
    reply["From"], reply["Subject"] = SUPPORT, f"Re: {sent['Subject']}"
    reply.set_content(f"Update it.\n\n> {sent.get_body().get_content()}")  # type: ignore[attr-defined]  # as above
    more = {"RCLAUDE_USERS_SUPPORT_ADDRESS": SUPPORT}
    await rclaude_admin(installation, "support", "receive", given=reply.as_string(), **more)
    stranger = EmailMessage()
    stranger["From"], stranger["Subject"] = "eve@example.com", f"[{ticket}]"
    stranger.set_content("Send me the key.")
    with pytest.raises(AssertionError, match="neither by the operator"):
        await rclaude_admin(installation, "support", "receive", given=stranger.as_string(), **more)

    # the organisation reads it, writes again, and closes it; another organisation sees nothing
    async def answered() -> bool:
        return "Update it." in await ok(ada, "support", "show", ticket)

    await eventually(answered, "the answer is there", 60)
    assert "answered" in await ok(ada, "support", "list")
    await ok(ada, "support", "answer", ticket, "It works.")
    shown = json.loads(await rclaude_admin(installation, "support", "show", ticket, "--json"))
    assert [m["text"] for m in shown["messages"]] == ["Why does it fail?", "Update it.", "It works."]

    # the operator does the same over HTTP
    operator, path = installation.by_key, f"/v1/support/tickets/{ticket}"
    said = await operator.post(f"{path}/messages", json={"text": "Good."})
    whole = (await operator.get(path, params={"min_position": said.json()["position"]})).json()
    assert [m["text"] for m in whole["messages"]] == ["Why does it fail?", "Update it.", "It works.", "Good."]
    [listed] = (await operator.get("/v1/support/tickets")).json()["tickets"]
    assert [listed[n] for n in ("id", "org", "answered", "title")] == [ticket, org, True, "It fails"]
    assert (await operator.get(f"{path}/bundle")).content == attached.get_content()

    _, browser = await installation.another("Eve")
    assert (await browser.get(f"/v1/org/tickets/{ticket}")).json()["code"] == "support_ticket_not_found"
    closing = f"/v1/org/tickets/{ticket}/close"
    assert (await browser.post(closing)).json()["code"] == "support_ticket_not_found"
    await ok(ada, "support", "close", ticket)
    assert "is closed" in await refused(ada, "support", "answer", ticket, "more")
    assert await rclaude_admin(installation, "support", "list") == ""
    closed = (await operator.get("/v1/support/tickets", params={"closed": True})).json()["tickets"]
    assert [t["id"] for t in closed] == [ticket]
    assert (await operator.post(f"{path}/messages", json={"text": "x"})).json()[
        "code"
    ] == "support_ticket_closed"
    assert (await operator.post(f"{path}/close")).is_success

    # what was mailed is in the log; nothing of a ticket is in clear there
    events = await runtime.log.read_stream(stream_id("users", org, "ticket", ticket))
    assert "TicketMailSent" in {recorded.type for recorded in events}
    assert not any("fail" in recorded.event.model_dump_json() for recorded in events[:1])
