"""Webhooks when a task ends: real HTTP on loopback, signatures checked by somebody else's library, one outcome each."""

import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

import forking
from event_examples import SEALED
from event_logs import everything
from gateway_stack import Member, Stack, eventually, running_gateway
from product import environment_of
from rebuilding import assert_rebuild_equals_live
from receiver import Heard, Receiver, heard, receiving
from remote_claude.access.kek import create_kek
from remote_claude.contracts.billing import QuotaThresholdReached
from remote_claude.contracts.gateway import QuotaAlertDelivered, WebhookDelivered, WebhookFailed
from remote_claude.contracts.runner import PermissionRequested
from remote_claude.eventsourcing.events import NewEvent, RecordedEvent, new_event_id, stream_id
from remote_claude.eventsourcing.postgres.outbox_table import effect
from remote_claude.eventsourcing.postgres.projector import Projector, ProjectorState
from remote_claude.eventsourcing.postgres.rebuild import rebuild
from remote_claude.eventsourcing.postgres.tables import append
from remote_claude.gateway.domain.webhooks import Format
from remote_claude.gateway.handlers import WebhookHandlers
from remote_claude.gateway.projections.webhooks import DeliveryRow, WebhooksView, webhooks
from remote_claude.runtime.embedded.home import free_port
from remote_claude.runtime.host import Host
from remote_claude.runtime.ids import new_id
from servers import Broker, until

OUTCOMES = (WebhookDelivered.type, WebhookFailed.type)


async def add(host: Host, org: str, url: str, format: Format = "standard") -> tuple[str, str]:
    """A hook that the view knows, and its secret."""
    runtime, hook = host.runtime, new_id("hook")
    secret, _ = await WebhookHandlers(runtime.log, runtime.keyring, runtime.clock).add(hook, org, url, format)
    await seen(host)
    return hook, secret


async def remove(host: Host, org: str, hook: str) -> None:
    runtime = host.runtime
    await WebhookHandlers(runtime.log, runtime.keyring, runtime.clock).remove(hook, org)
    await seen(host)


async def seen(host: Host) -> None:
    """The view has folded what the log has."""
    runtime = host.runtime
    assert await runtime.projectors[WebhooksView.name].wait_for(await runtime.log.last_position(), 30)


async def end(stack: Stack, member: Member) -> str:
    """A task that ends."""
    task = await member.submit()
    await stack.cancelled(member.org, task)
    return task


async def outcomes(host: Host, org: str, count: int = 1) -> list[RecordedEvent]:
    """Wait until there are so many outcomes of an organisation's hooks."""

    async def there() -> list[RecordedEvent]:
        found = [
            recorded
            async for batch in host.runtime.log.read(subjects=f"ev.gateway.{org}.task.>")
            for recorded in batch
            if recorded.type in OUTCOMES
        ]
        return found if len(found) >= count else []

    found: list[RecordedEvent] = await eventually(there, f"{count} outcomes", 60)
    assert len(found) == count
    return found


async def attempted(host: Host) -> bool:
    """Whether something has failed and waits, as the metrics page says."""
    async with httpx2.AsyncClient() as client:
        page = (await client.get(f"http://127.0.0.1:{host.port}/metrics")).text
    return bool(
        re.search(r'^rclaude_outbox_attempts_total\{[^}]*how="retry"[^}]*\} [1-9]', page, re.MULTILINE)
    )


@asynccontextmanager
async def a_gateway(broker: Broker, dsn: str, folder: Path, **settings: Any) -> AsyncIterator[Stack]:
    environment = {f"RCLAUDE_GATEWAY_WEBHOOK_{name.upper()}": str(value) for name, value in settings.items()}
    async with running_gateway(broker, dsn, folder, environment) as stack:
        yield stack


@pytest.fixture
def receiver() -> Any:
    with receiving() as receiver:
        yield receiver


@pytest.mark.asyncio(loop_scope="module")
async def test_a_slack_webhook_gets_a_text(stack: Stack, member: Member, receiver: Receiver) -> None:
    await add(stack.host, member.org, receiver.url, "slack")
    task = await end(stack, member)
    await outcomes(stack.host, member.org)
    [got] = receiver.heard
    assert got.body["text"].endswith("*cancelled*")
    assert task in got.body["text"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_hook_gets_an_alert_when_a_part_of_a_quota_is_used(
    stack: Stack, member: Member, receiver: Receiver
) -> None:
    hook, secret = await add(stack.host, member.org, receiver.url)
    runtime = stack.host.runtime
    reached = QuotaThresholdReached(
        org=member.org, period="2026-11", meter="executions", percent=80, used=80, limit=100
    )
    account = stream_id("billing", member.org, "account", member.org)
    new = NewEvent(event=reached, event_id=new_event_id(), occurred_at="2026-11-24T17:00:00.000000Z")
    known = await runtime.log.read_stream(account)
    await runtime.log.append(account, [new], expected_position=known[-1].position if known else 0)

    async def settled() -> list[RecordedEvent]:
        return list(await runtime.log.read_stream(stream_id("gateway", member.org, "webhook", hook)))[1:]

    [outcome] = await eventually(settled, "the outcome of the alert", 60)
    assert outcome.event == QuotaAlertDelivered(hook=hook, org=member.org, alert=new.event_id, status=204)
    await seen(stack.host)
    [told] = receiver.heard
    assert Webhook(secret).verify(told.content, told.headers) == told.body
    assert (told.id, told.body["type"]) == (outcome.event_id, "quota.threshold_reached")
    assert (told.body["data"]["percent"], told.body["data"]["meter"]) == (80, "executions")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_hook_hears_once_that_a_task_has_ended(
    stack: Stack, member: Member, receiver: Receiver
) -> None:
    earlier = await end(stack, member)
    hook, secret = await add(stack.host, member.org, receiver.url)
    task = await end(stack, member)
    [outcome] = await outcomes(stack.host, member.org)
    await seen(stack.host)
    [told] = receiver.heard
    [ended] = [
        recorded
        async for batch in stack.host.runtime.log.read(subjects=f"ev.scheduler.{member.org}.>")
        for recorded in batch
        if recorded.type == "TaskCancelled" and recorded.event.task == task
    ]
    assert task != earlier
    assert outcome.event == WebhookDelivered(task=task, org=member.org, hook=hook, status=204)
    assert (outcome.event_id, outcome.causation_id) == (told.id, ended.event_id)
    assert told.body == {
        "type": "task.cancelled",
        "timestamp": ended.occurred_at,
        "data": {
            "task": task, "org": member.org, "state": "cancelled", "event": ended.event_id, "position": ended.position,
        },
    }  # fmt: skip
    assert Webhook(secret).verify(told.content, told.headers) == told.body
    for content, key in ((told.content + b" ", secret), (told.content, "whsec_" + "A" * 43 + "=")):
        with pytest.raises(WebhookVerificationError):
            Webhook(key).verify(content, told.headers)
    runtime = stack.host.runtime
    [shown] = await webhooks(runtime.pool, hook=hook)
    assert (shown.delivered, shown.failed, shown.pending, shown.last) == (1, 0, 0, "delivered (204)")
    await assert_rebuild_equals_live(WebhooksView(), runtime.pool, runtime.log)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_hook_hears_that_an_agent_asks_for_a_permission(
    stack: Stack, member: Member, receiver: Receiver
) -> None:
    await add(stack.host, member.org, receiver.url)
    task = await member.submit()
    asked = PermissionRequested(
        task=task, org=member.org, attempt=1, runner="runner_1", request="1-1", tool="Bash", input=SEALED
    )
    await stack.run(asked)
    await outcomes(stack.host, member.org)
    [told] = receiver.heard
    assert told.body["type"] == "task.permission_requested"
    data = told.body["data"]
    assert (data["task"], data["permission"], data["tool"]) == (task, "1-1", "Bash")


@pytest.mark.asyncio(loop_scope="module")
async def test_an_admin_manages_webhooks_over_http(stack: Stack, member: Member, receiver: Receiver) -> None:
    api = member.http
    made = (await api.post("/v1/webhooks", json={"url": receiver.url})).json()
    path = f"/v1/webhooks/{made['id']}"
    listed = (await api.get("/v1/webhooks", params={"min_position": made["position"]})).json()["webhooks"]
    assert [(hook["id"], hook["url"]) for hook in listed] == [(made["id"], receiver.url)]
    assert made["secret"] not in str(listed)
    metadata = "http://169.254.169.254/latest"
    refused = (await api.post("/v1/webhooks", json={"url": metadata})).json()
    assert (refused["code"], "RCLAUDE_OUTBOUND_ALLOW=169" in refused["detail"]) == (
        "webhook_url_refused",
        True,
    )
    await add(stack.host, member.org, metadata)  # as a name that resolves to it later
    task = await end(stack, member)
    found = {outcome.event.hook: outcome for outcome in await outcomes(stack.host, member.org, 2)}
    assert Webhook(made["secret"]).verify(receiver.heard[0].content, receiver.heard[0].headers)
    delivered = found.pop(made["id"])
    [failed] = found.values()
    assert failed.event.reason == "address_refused"
    await seen(stack.host)
    page = (await api.get(f"{path}/deliveries")).json()
    [one] = page["deliveries"]
    assert (one["task"], one["outcome"], one["status"]) == (task, "delivered", 204)
    assert (one["id"], one["position"], page["next"]) == (delivered.event_id, delivered.position, None)

    # the same message once more, under an id of its own; not of a task that has not ended
    running = await member.submit()
    refused = await api.post(f"{path}/deliveries", json={"task": running})
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_replay")
    assert (await api.post(f"{path}/deliveries", json={"task": task})).status_code == 202
    await outcomes(stack.host, member.org, 3)
    before, again = receiver.heard
    assert (again.content, again.headers["webhook-id"] != before.headers["webhook-id"]) == (
        before.content,
        True,
    )
    assert Webhook(made["secret"]).verify(again.content, again.headers)
    await seen(stack.host)
    shown = (await api.get(f"{path}/deliveries")).json()["deliveries"]
    assert [one["outcome"] for one in shown] == ["delivered", "delivered"]

    assert (await api.delete(path)).status_code == 204
    await seen(stack.host)
    assert (await api.get(f"{path}/deliveries")).json()["code"] == "webhook_not_found"
    refused = await api.post("/v1/webhooks", json={"url": "ftp://ci.example"})
    assert (refused.status_code, refused.json()["code"]) == (422, "webhook_url_refused")


@pytest.mark.asyncio(loop_scope="module")
async def test_neither_another_organisation_nor_a_removed_hook_hears(stack: Stack, member: Member) -> None:
    other = await stack.member()
    with receiving() as gone, receiving() as others, receiving() as here:
        hook, _ = await add(stack.host, member.org, gone.url)
        await remove(stack.host, member.org, hook)
        await remove(stack.host, member.org, hook)
        await add(stack.host, other.org, others.url)
        await add(stack.host, member.org, here.url)
        task = await end(stack, member)
        assert [told.body["data"]["task"] for told in await heard(here, 1)] == [task]
        await outcomes(stack.host, member.org)
    assert (gone.heard, others.heard) == ([], [])


@pytest.mark.asyncio(loop_scope="module")
async def test_what_a_removed_hook_has_missed_is_forgotten(
    stack: Stack, member: Member, receiver: Receiver
) -> None:
    receiver.answer = lambda _: 500
    hook, _ = await add(stack.host, member.org, receiver.url)
    await end(stack, member)
    await heard(receiver, 1)
    await remove(stack.host, member.org, hook)
    runtime = stack.host.runtime
    assert await webhooks(runtime.pool, org=member.org) == []
    async with runtime.pool.connection() as connection:
        rows = await connection.execute(
            "SELECT 1 FROM gateway_webhooks.delivery WHERE lane = %s", [hook], prepare=False
        )
        assert await rows.fetchall() == []
    await assert_rebuild_equals_live(WebhooksView(), runtime.pool, runtime.log)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_redirect_is_not_followed_and_counts_as_a_failure(
    stack: Stack, member: Member, receiver: Receiver
) -> None:
    with receiving() as elsewhere:
        receiver.location = elsewhere.url
        receiver.answer = lambda _: 307 if len(receiver.heard) == 1 else 200
        await add(stack.host, member.org, receiver.url)
        await end(stack, member)
        [outcome] = await outcomes(stack.host, member.org)
    assert (outcome.event.status, len(receiver.heard), elsewhere.heard) == (200, 2, [])


@pytest.mark.asyncio(loop_scope="module")
async def test_a_receiver_that_says_gone_is_not_asked_again(
    stack: Stack, member: Member, receiver: Receiver
) -> None:
    receiver.answer = lambda _: 410
    hook, _ = await add(stack.host, member.org, receiver.url)
    task = await end(stack, member)
    [outcome] = await outcomes(stack.host, member.org)
    assert outcome.event == WebhookFailed(task=task, org=member.org, hook=hook, reason="gone", status=410)
    assert len(receiver.heard) == 1


@pytest.mark.asyncio(loop_scope="module")
async def test_a_receiver_that_is_down_hears_when_it_is_up(stack: Stack, member: Member) -> None:
    with receiving() as receiver:
        port = receiver.port
    await add(stack.host, member.org, receiver.url)
    task = await end(stack, member)

    await eventually(lambda: attempted(stack.host), "an attempt has failed")
    with receiving(port) as receiver:
        [told] = await heard(receiver, 1)
        [outcome] = await outcomes(stack.host, member.org)
    assert (told.body["data"]["task"], outcome.event_id) == (task, told.id)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_hook_of_an_erased_organisation_is_given_up(
    stack: Stack, member: Member, receiver: Receiver
) -> None:
    await add(stack.host, member.org, receiver.url)
    task = await member.submit()
    await stack.host.runtime.keyring.erase(member.org)
    await stack.cancelled(member.org, task)
    [outcome] = await outcomes(stack.host, member.org)
    assert (outcome.event.reason, receiver.heard) == ("key_erased", [])


async def test_a_receiver_that_hangs_is_given_up_and_holds_up_nobody(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path, receiver: Receiver
) -> None:
    async with a_gateway(fresh_nats, postgres_dsn, tmp_path, timeout_s=0.3, give_up_s=0) as stack:
        member = await stack.member()
        receiver.answer = lambda _: -1
        with receiving() as other:
            hanging, _ = await add(stack.host, member.org, receiver.url)
            healthy, _ = await add(stack.host, member.org, other.url)
            tasks = [await end(stack, member) for _ in range(3)]
            found = await outcomes(stack.host, member.org, 6)
        said = {(r.event.hook, r.event.task, getattr(r.event, "reason", "delivered")) for r in found}
        assert said == {
            (h, t, how) for h, how in ((hanging, "timeout"), (healthy, "delivered")) for t in tasks
        }


async def test_what_can_not_be_recorded_and_a_lane_that_failed_are_on_the_metrics_page(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path, receiver: Receiver
) -> None:
    async with a_gateway(fresh_nats, postgres_dsn, tmp_path) as stack:
        member = await stack.member()
        hook, _ = await add(stack.host, member.org, receiver.url)
        runtime = stack.host.runtime
        stream = stream_id("gateway", member.org, "task", "task_1")
        [cause] = [e for e in await everything(runtime.log) if e.type == "WebhookAdded"]
        payload = {"task": 7, "org": member.org, "state": "failed", "event": cause.event_id, "position": 1}
        told = effect(cause, "told", lane=hook, stream=stream, payload=payload)  # a task is named by text
        stuck = effect(cause, "stuck", lane="another", stream=stream, payload={}) | {
            "occurred_at": "long ago"
        }
        async with runtime.pool.connection() as connection, connection.transaction():
            await connection.execute("SET LOCAL search_path = gateway_webhooks", prepare=False)
            await append(connection, DeliveryRow, [told, stuck])

        async def counted() -> bool:
            async with httpx2.AsyncClient() as client:
                page = (await client.get(f"http://127.0.0.1:{stack.host.port}/metrics")).text
            return all(
                re.search(rf"^rclaude_outbox_{name}_total\{{.*\}} 1", page, re.MULTILINE)
                for name in ("refused_outcomes", "lane_failures")
            )

        await eventually(counted, "both to be counted")
    assert [heard.id for heard in receiver.heard] == [told["key"]]


async def test_two_gateways_tell_it_once(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path, receiver: Receiver
) -> None:
    async with a_gateway(fresh_nats, postgres_dsn, tmp_path) as one:
        (tmp_path / "two").mkdir()
        (tmp_path / "two" / "kek").write_text((tmp_path / "kek").read_text())
        async with a_gateway(fresh_nats, postgres_dsn, tmp_path / "two") as two:
            two.admitting = False
            member = await one.member()
            await add(one.host, member.org, receiver.url)
            tasks = {await end(one, member) for _ in range(10)}
            await outcomes(two.host, member.org, 10)
    assert len(receiver.heard) == 10
    assert {told.body["data"]["task"] for told in receiver.heard} == tasks


async def test_a_rebuild_tells_nobody_while_something_is_still_to_be_told(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path, receiver: Receiver
) -> None:
    async with a_gateway(fresh_nats, postgres_dsn, tmp_path) as stack:
        member = await stack.member()
        await add(stack.host, member.org, receiver.url)
        await end(stack, member)
        await outcomes(stack.host, member.org)
        receiver.answer = lambda _: 503
        task = await end(stack, member)
        await heard(receiver, 2)
        runtime = stack.host.runtime
        await seen(stack.host)
        assert (await rebuild(WebhooksView(), runtime.pool, runtime.log)).equal
        receiver.answer = lambda _: 200
        [_, outcome] = await outcomes(stack.host, member.org, 2)
    assert outcome.event.task == task
    assert len({told.id for told in receiver.heard}) == 2
    assert [told.body["data"]["task"] == task for told in receiver.heard] == [False, *[True] * (len(receiver.heard) - 1)]  # fmt: skip


async def test_a_gateway_killed_after_it_has_told_and_before_it_has_said_so_tells_again_under_the_same_id(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path, receiver: Receiver
) -> None:
    create_kek(tmp_path / "kek")
    with a_process(fresh_nats, postgres_dsn, tmp_path) as process:
        async with a_gateway(fresh_nats, postgres_dsn, tmp_path) as standby:
            projector = standby.host.runtime.projectors[WebhooksView.name]
            await eventually(standing_by(projector), "another process works")
            member = await standby.member()
            await add(standby.host, member.org, receiver.url)

            def die(_: Heard) -> int:
                receiver.answer = lambda _: 200
                process.kill()
                return 200

            receiver.answer = die
            task = await end(standby, member)
            [outcome] = await outcomes(standby.host, member.org)
            first, second = receiver.heard
            await seen(standby.host)
            await assert_rebuild_equals_live(
                WebhooksView(), standby.host.runtime.pool, standby.host.runtime.log
            )
    assert (first.id, first.content) == (second.id, second.content)
    assert (outcome.event_id, outcome.event.task, process.wait()) == (first.id, task, -signal.SIGKILL)


def standing_by(projector: Projector) -> Callable[[], Awaitable[bool]]:
    async def fact() -> bool:
        return projector.state is ProjectorState.STANDBY

    return fact


@contextmanager
def a_process(broker: Broker, dsn: str, folder: Path) -> Iterator[forking.Process]:
    """A gateway in a process of its own, which works the outbox."""
    port = free_port()
    environment = environment_of(folder, broker, dsn) | {
        "RCLAUDE_HTTP_PORT": str(port),
        "RCLAUDE_OUTBOUND_ALLOW": "127.0.0.0/8",
    }

    def works() -> bool:
        try:
            page = httpx2.get(f"http://127.0.0.1:{port}/metrics").text
        except httpx2.TransportError:
            return False
        return "rclaude_outbox_pending{" in page  # said where it is worked

    with (folder / "gateway.log").open("wb") as log:
        process = forking.service("gateway", environment, log)
        try:
            until(works, f"the gateway to work: {folder / 'gateway.log'}", 60, pause=0.05)
            yield process
        finally:
            process.kill()
            process.wait()
