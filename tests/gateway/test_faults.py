"""What clients of the gateway see when the broker, the database or another client fails."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import nats
import pytest
from psycopg import AsyncConnection
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from event_logs import Proxy
from gateway_stack import Member, Stack, eventually, output, running_gateway
from product import Product
from remote_claude.access.kek import KeySource
from remote_claude.access.keyring import Keyring
from remote_claude.eventsourcing.jetstream.streams import KEYS, OUTPUT, ensure_streams
from remote_claude.runtime.http import server as web
from servers import Broker, Database, running_postgres


async def follow(stack: Stack, member: Member, task: str, seen: list[str]) -> tuple[int, dict[str, Any]]:
    """Watch to the end like a patient client: again from the cursor whenever the socket is lost."""
    cursor, connections = None, 0
    while True:
        connections += 1
        try:
            async with connect(
                f"ws://127.0.0.1:{stack.host.port}/v1/stream", additional_headers=member.headers, proxy=None
            ) as socket:
                await socket.send(json.dumps({"type": "subscribe", "task": task, "after": cursor}))
                while True:
                    frame = json.loads(await socket.recv())
                    if frame["type"] == "output":
                        assert (frame["attempt"], frame["first"]) == (1, len(seen) + 1)
                        seen += [f["text"] for f in frame["frames"]]
                        cursor = frame["cursor"]
                    if frame["type"] == "end":
                        return connections, frame
        except ConnectionClosed:
            continue


async def seen_all(seen: list[str], count: int) -> None:
    async def arrived() -> bool:
        return len(seen) == count

    await eventually(arrived, f"{count} frames have been seen")


async def test_a_gateway_whose_broker_is_frozen_is_not_ready(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "SILENT_S", 3.0)  # a heartbeat comes every two seconds
    async with running_gateway(fresh_nats, postgres_dsn, tmp_path) as stack:
        http = httpx2.AsyncClient(base_url=stack.url, timeout=30)
        stack.clients.append(http)

        async def ready() -> bool:
            return (await http.get("/readyz")).status_code == 200

        async def unready() -> Any:
            answer = await http.get("/readyz")
            return answer.status_code == 503 and answer.json()["reasons"]

        await eventually(ready, "the gateway is ready")
        os.kill(fresh_nats.pid, signal.SIGSTOP)
        try:
            reasons = await eventually(unready, "the gateway is not ready")
            assert "has sent nothing" in reasons["broker"]
        finally:
            os.kill(fresh_nats.pid, signal.SIGCONT)
        await eventually(ready, "the gateway is ready again")


@pytest.mark.parametrize("end", ["restart", "kill"])
async def test_a_broker_that_restarts_costs_a_watcher_no_frame(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path, end: str
) -> None:
    async with running_gateway(fresh_nats, postgres_dsn, tmp_path) as stack:
        member = await stack.member()
        task, org = await member.submit(), member.org
        await stack.start(org, task)
        runtime = stack.host.runtime
        seen: list[str] = []
        watching = asyncio.create_task(follow(stack, member, task, seen))
        writer = runtime.output.writer(org, task, 1)
        for n in range(50):
            await writer.write(output(str(n)))
        await seen_all(seen, 50)
        if end == "restart":
            await asyncio.to_thread(fresh_nats.restart)
        else:
            await asyncio.to_thread(fresh_nats.kill)
            await asyncio.to_thread(fresh_nats.start)

        async def back() -> bool:
            return runtime.nats.is_connected and runtime.nats.stats["reconnects"] > 0

        await eventually(back, "the connection is back")
        for n in range(50, 100):
            await writer.write(output(str(n)))
        await seen_all(seen, 100)
        await stack.finish(org, task, frames=output(*map(str, range(100))))
        await stack.succeed(org, task)
        connections, frame = await watching
        assert (seen, frame["cursor"], connections) == ([str(n) for n in range(100)], "1.100", 1)


async def test_a_watcher_is_told_that_no_output_is_heard(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path
) -> None:
    broker = await nats.connect(**fresh_nats.options)
    await ensure_streams(broker)
    await broker.jetstream().delete_stream(OUTPUT)
    settings = {"RCLAUDE_GATEWAY_POSITION_WAIT_S": "0.2"}
    async with running_gateway(fresh_nats, postgres_dsn, tmp_path, settings) as stack:
        member = await stack.member()
        task, org = await member.submit(), member.org
        position = await stack.start(org, task)
        url = f"ws://127.0.0.1:{stack.host.port}/v1/stream"
        async with connect(url, additional_headers=member.headers, proxy=None) as watcher:
            await watcher.send(json.dumps({"type": "subscribe", "task": task, "min_position": position}))
            assert json.loads(await watcher.recv())["state"] == "running"
            async with asyncio.timeout(60):
                await watcher.wait_closed()
            assert (watcher.close_code, watcher.close_reason) == (1013, "broker_unavailable")
        await ensure_streams(broker)
        await stack.host.runtime.output.writer(org, task, 1).write(output("a"))
        await stack.finish(org, task)
        await stack.succeed(org, task)
        seen: list[str] = []
        async with asyncio.timeout(60):
            await follow(stack, member, task, seen)
        assert seen == ["a"]
    await broker.close()


async def test_a_watcher_goes_on_where_output_begins_that_is_not_lost(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path
) -> None:
    settings = {"RCLAUDE_GATEWAY_RING_KIB": "1"}
    async with running_gateway(fresh_nats, postgres_dsn, tmp_path, settings) as stack:
        member = await stack.member()
        task, org = await member.submit(), member.org
        await stack.start(org, task)
        writer = stack.host.runtime.output.writer(org, task, 1)
        await writer.write(output("a", "b"))
        url = f"ws://127.0.0.1:{stack.host.port}/v1/stream"
        async with connect(url, additional_headers=member.headers, proxy=None) as early:
            await early.send(json.dumps({"type": "subscribe", "task": task}))
            assert (await next_output(early))["cursor"] == "1.2"
            await writer.write(output("c" * 2000))  # which fills the ring
            assert (await next_output(early))["cursor"] == "1.3"
            await stack.host.runtime.nats.jetstream().purge_stream(OUTPUT)
            for after in (None, "1.1"):
                async with connect(url, additional_headers=member.headers, proxy=None) as late:
                    await late.send(json.dumps({"type": "subscribe", "task": task, "after": after}))
                    frame = await next_output(late)
                    assert (frame["first"], frame["cursor"]) == (3, "1.3")


async def next_output(socket: ClientConnection) -> dict[str, Any]:
    """The next frame of output."""
    async with asyncio.timeout(60):
        while (frame := json.loads(await socket.recv()))["type"] != "output":
            pass
    found: dict[str, Any] = frame
    return found


async def test_a_submission_without_a_broker_is_answered_soon_and_may_be_sent_again(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path
) -> None:
    settings = {"RCLAUDE_GATEWAY_LOG_WAIT_S": "1"}
    async with running_gateway(fresh_nats, postgres_dsn, tmp_path, settings) as stack:
        member = await stack.member()
        before = await member.submit()
        body, headers = {"prompt": "do it", "agent": "shell"}, {"Idempotency-Key": "once"}
        await asyncio.to_thread(fresh_nats.kill)
        patience = 10.0  # of the client: without a bound of its own the log takes 30 seconds to give up
        lost = await member.http.post("/v1/tasks", json=body, headers=headers, timeout=patience)
        assert (lost.status_code, lost.json()["code"]) == (503, "log_unavailable")
        assert "Idempotency-Key" in lost.json()["detail"]
        assert lost.headers["retry-after"] == "1"
        cancelled = await member.http.post(f"/v1/tasks/{before}/cancel", timeout=patience)
        assert cancelled.status_code == 503
        assert cancelled.json()["code"] in ("log_unavailable", "broker_unavailable"), (
            "whichever is asked first"
        )
        await asyncio.to_thread(fresh_nats.start)

        async def taken() -> httpx2.Response | None:
            answer = await member.http.post("/v1/tasks", json=body, headers=headers)
            return answer if answer.status_code == 201 else None

        answer = await eventually(taken, "the task is taken")
        assert answer.json()["id"] == lost.json()["id"]
        listed = await member.http.get("/v1/tasks", params={"min_position": answer.json()["position"]})
        assert [task["id"] for task in listed.json()["tasks"]] == [lost.json()["id"], before]


async def test_what_was_submitted_is_not_denied_by_a_gateway_that_has_just_started(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path
) -> None:
    body, headers = {"prompt": "do it", "agent": "shell"}, {"Idempotency-Key": "once"}
    async with running_gateway(fresh_nats, postgres_dsn, tmp_path) as stack:
        member = await stack.member()
        first = await member.http.post("/v1/tasks", json=body, headers=headers)
    held = await AsyncConnection.connect(postgres_dsn)
    await held.execute("SELECT 1 FROM gateway_tasks.checkpoint FOR UPDATE")
    await held.execute("UPDATE gateway_tasks.checkpoint SET position = 0")
    await held.execute("TRUNCATE gateway_tasks.task, gateway_tasks.submission, gateway_tasks.event")
    await held.commit()
    await held.execute("SELECT 1 FROM gateway_tasks.checkpoint FOR UPDATE")  # the view stays at 0
    settings = {"RCLAUDE_GATEWAY_ADMISSION_WAIT_S": "0.2", "RCLAUDE_GATEWAY_POSITION_WAIT_S": "0.2"}
    async with running_gateway(fresh_nats, postgres_dsn, tmp_path, settings) as stack:
        url, auth = stack.url, member.headers
        async with httpx2.AsyncClient(base_url=url, headers=auth, timeout=20) as http:
            early = await http.post("/v1/tasks", json=body, headers=headers)
            assert (early.status_code, early.json()["code"]) == (503, "not_caught_up"), early.text
            unknown = await http.get(f"/v1/tasks/{first.json()['id']}")
            assert (unknown.status_code, unknown.json()["code"]) == (503, "not_caught_up"), unknown.text
            await held.close()

            async def answered() -> httpx2.Response | None:
                answer = await http.post("/v1/tasks", json=body, headers=headers)
                return answer if answer.status_code != 503 else None

            again = await eventually(answered, "the view has caught up")
    assert (again.status_code, again.json()) == (first.status_code, first.json())


async def test_a_task_whose_rows_postgres_has_lost_is_not_denied(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path
) -> None:
    """As when it dies before its last commits are flushed: checkpoint and rows are back where they were."""
    settings = {"RCLAUDE_GATEWAY_POSITION_WAIT_S": "0.2"}
    async with running_gateway(fresh_nats, postgres_dsn, tmp_path, settings) as stack:
        member = await stack.member()
        task = await member.submit()
        assert (await member.http.get(f"/v1/tasks/{task}/events")).status_code == 200
        async with await AsyncConnection.connect(postgres_dsn) as lost:
            await lost.execute("UPDATE gateway_tasks.checkpoint SET position = 0")
            await lost.execute("TRUNCATE gateway_tasks.task, gateway_tasks.submission, gateway_tasks.event")
        early = await member.http.get(f"/v1/tasks/{task}/events")
        assert (early.status_code, early.json()["code"]) == (503, "not_caught_up"), early.text
        await member.submit()  # now the view finds out, and reads the log again

        async def shown() -> bool:
            return (await member.http.get(f"/v1/tasks/{task}/events")).status_code == 200

        await eventually(shown, "the task is back")


async def test_what_another_process_erases_is_forgotten_here_within_seconds(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path
) -> None:
    async with running_gateway(fresh_nats, postgres_dsn, tmp_path) as stack:
        member = await stack.member()
        task = await member.submit("a secret")
        assert (await member.http.get(f"/v1/tasks/{task}")).json()["prompt"] == "a secret"
        bucket = await stack.host.runtime.nats.jetstream().key_value(KEYS)
        await Keyring(bucket, KeySource(tmp_path / "kek").load).erase(member.org)

        async def forgotten() -> bool:
            return (await member.http.get(f"/v1/tasks/{task}")).json()["prompt"] is None

        await eventually(forgotten, "the prompt is forgotten")
        refused = await member.http.post("/v1/tasks", json={"prompt": "do it", "agent": "shell"})
        assert (refused.status_code, refused.json()["code"]) == (410, "key_erased")


async def test_a_watcher_that_does_not_read_is_closed_and_costs_the_others_nothing(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path
) -> None:
    settings = {"RCLAUDE_GATEWAY_WATCHER_STALL_S": "1", "RCLAUDE_GATEWAY_RING_KIB": "64"}
    async with running_gateway(fresh_nats, postgres_dsn, tmp_path, settings) as stack:
        member = await stack.member()
        task, org = await member.submit(), member.org
        await stack.start(org, task)
        seen: list[str] = []
        watching = asyncio.create_task(follow(stack, member, task, seen))
        url = f"ws://127.0.0.1:{stack.host.port}/v1/stream"
        async with connect(
            url, additional_headers=member.headers, proxy=None, max_queue=1, max_size=None
        ) as stalled:
            await stalled.send(json.dumps({"type": "subscribe", "task": task}))
            while json.loads(await stalled.recv())["type"] != "state":
                pass  # a heartbeat may come first
            writer = stack.host.runtime.output.writer(org, task, 1)
            count = 0
            while True:  # nobody reads `stalled` from here on, until it has been closed
                await writer.write(output(*(f"{count + n}" + "x" * 8000 for n in range(20))))
                count += 20
                await seen_all(seen, count)
                status = (await member.http.get("/v1/status")).json()["services"]["gateway"]
                if status["sockets"] == 1:
                    break
                assert count < 100_000
            last = 0
            with contextlib.suppress(ConnectionClosed):
                while True:
                    frame = json.loads(await stalled.recv())
                    if frame["type"] == "output":
                        assert frame["first"] == last + 1
                        last = int(frame["cursor"].partition(".")[2])
            assert (stalled.close_code, stalled.close_reason) == (1013, "slow_consumer")
        assert last < count
        async with connect(url, additional_headers=member.headers, proxy=None, max_size=None) as resumed:
            await resumed.send(json.dumps({"type": "subscribe", "task": task, "after": f"1.{last}"}))
            while (frame := json.loads(await resumed.recv()))["type"] != "output":
                pass
            assert frame["first"] == last + 1
        await stack.finish(org, task)
        await stack.succeed(org, task)
        connections, frame = await watching
        assert (connections, frame["cursor"]) == (1, f"1.{count}")


async def test_a_watcher_slower_than_the_ring_still_sees_everything_on_one_socket(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path
) -> None:
    async with running_gateway(
        fresh_nats, postgres_dsn, tmp_path, {"RCLAUDE_GATEWAY_RING_KIB": "32"}
    ) as stack:
        member = await stack.member()
        task, org = await member.submit(), member.org
        await stack.start(org, task)
        quick: list[str] = []
        watching = asyncio.create_task(follow(stack, member, task, quick))
        total = 4000
        url = f"ws://127.0.0.1:{stack.host.port}/v1/stream"
        async with connect(url, additional_headers=member.headers, proxy=None, max_queue=1) as slow:
            await slow.send(json.dumps({"type": "subscribe", "task": task}))
            await slow.recv()
            writer = stack.host.runtime.output.writer(org, task, 1)
            read = 0
            for first in range(0, total, 10):
                await writer.write(output(*(f"{first + n}" + "x" * 4000 for n in range(10))))
                if first % 100 == 0:
                    frame = json.loads(await slow.recv())
                    if frame["type"] == "output":
                        assert frame["first"] == read + 1
                        read = int(frame["cursor"].partition(".")[2])
            assert read < total
            await stack.finish(org, task)
            await stack.succeed(org, task)
            while (frame := json.loads(await slow.recv()))["type"] != "end":
                if frame["type"] == "output":
                    assert frame["first"] == read + 1
                    read = int(frame["cursor"].partition(".")[2])
        assert read == total
        connections, _ = await watching
        assert (connections, len(quick)) == (1, total)


async def test_a_silent_log_is_told_rather_than_the_past(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path
) -> None:
    settings = {"RCLAUDE_GATEWAY_STALE_AFTER_S": "6"}
    async with running_gateway(fresh_nats, postgres_dsn, tmp_path, settings) as stack:
        member = await stack.member()
        task = await member.submit()
        url = f"ws://127.0.0.1:{stack.host.port}/v1/stream"
        async with connect(url, additional_headers=member.headers, proxy=None) as socket:
            await socket.send(json.dumps({"type": "subscribe", "task": task}))
            await socket.recv()
            await asyncio.to_thread(fresh_nats.stop)
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await asyncio.wait_for(socket.recv(), 30)
            assert (socket.close_code, socket.close_reason) == (1013, "stale")
        for path in ("/v1/tasks", f"/v1/tasks/{task}", f"/v1/tasks/{task}/output"):
            answer = await member.http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "stale")
            assert answer.headers["retry-after"] == "1"
        async with connect(url, additional_headers=member.headers, proxy=None) as socket:
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(socket.recv(), 30)
            assert socket.close_reason == "stale"
        await asyncio.to_thread(fresh_nats.start)

        async def answers() -> bool:
            return (await member.http.get(f"/v1/tasks/{task}")).status_code == 200

        await eventually(answers, "reads are answered again", timeout=60)
        assert await member.submit()


async def test_without_the_broker_a_submission_is_told_to_come_again(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path
) -> None:
    async with running_gateway(fresh_nats, postgres_dsn, tmp_path) as stack:
        member = await stack.member()
        body, key = {"prompt": "x", "agent": "shell"}, {"Idempotency-Key": "k"}
        assert await member.submit()
        await asyncio.to_thread(fresh_nats.stop)
        answer = await member.http.post("/v1/tasks", json=body, headers=key, timeout=120)
        assert (answer.status_code, answer.json()["code"]) == (503, "log_unavailable")
        await asyncio.to_thread(fresh_nats.start)

        async def taken() -> Any:
            answer = await member.http.post("/v1/tasks", json=body, headers=key)
            return answer.json() if answer.status_code in (201, 202) else None

        first = await eventually(taken, "the submission is taken", timeout=60)
        again = await eventually(taken, "and again")
        assert first["id"] == again["id"]


async def test_without_the_database_tasks_are_taken_and_reads_told_to_come_again(
    fresh_nats: Broker, tmp_path: Path
) -> None:
    with running_postgres() as database:
        await _without(database, fresh_nats, tmp_path)


async def _without(database: Database, broker: Broker, folder: Path) -> None:
    with database.fresh() as dsn:
        async with running_gateway(broker, dsn, folder) as stack:
            member = await stack.member()
            await member.submit()
            await asyncio.to_thread(database.kill)
            task = await member.submit()
            async with connect(
                f"ws://127.0.0.1:{stack.host.port}/v1/stream", additional_headers=member.headers, proxy=None
            ) as socket:
                await socket.send(json.dumps({"type": "subscribe", "task": task}))
                frame = json.loads(await asyncio.wait_for(socket.recv(), 30))
                assert (frame["type"], frame["state"]) == ("state", "queued"), "live tasks need no database"
            assert (await member.http.get(f"/v1/tasks/{task}")).json()["state"] == "queued"
            answer = await member.http.get("/v1/tasks")
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert answer.headers["retry-after"] == "1"
            await asyncio.to_thread(database.start)

            async def shown() -> bool:
                return (await member.http.get("/v1/tasks")).status_code == 200

            await eventually(shown, "tasks are listed", timeout=60)


async def test_run_waits_for_a_gateway_that_has_not_read_of_its_task_yet(
    fresh_nats: Broker, postgres_dsn: str, tmp_path: Path
) -> None:
    """It is submitted through one gateway, and watched through another that is behind."""
    settings = {"RCLAUDE_GATEWAY_POSITION_WAIT_S": "0.2"}
    async with Proxy(fresh_nats) as proxy:
        lagging = Broker(fresh_nats, proxy.url, fresh_nats.seed_file)
        async with (
            running_gateway(lagging, postgres_dsn, tmp_path, settings) as behind,  # the view is applied here
            running_gateway(fresh_nats, postgres_dsn, tmp_path) as stack,
            door(stack.host.port, behind.host.port) as (url, refused),
        ):
            behind.admitting = False
            member = await stack.member()
            async with httpx2.AsyncClient(base_url=behind.url, headers=member.headers) as http:

                async def known() -> bool:
                    return (await http.get("/v1/tasks")).status_code == 200

                await eventually(known, "the key is known to both")
            proxy.passes_answers.clear()
            product = Product(tmp_path / "home", {"RCLAUDE_URL": url, "RCLAUDE_API_KEY": member.token})
            running = asyncio.create_task(
                asyncio.to_thread(product.run, "run", "--agent", "shell", "--no-repo", "do it")
            )

            async def refused_once() -> bool:
                return running.done() or len(refused) > 1

            await eventually(refused_once, "it comes again")
            assert not running.done(), running.result()
            proxy.passes_answers.set()

            async def listed() -> list[dict[str, Any]]:
                found: list[dict[str, Any]] = (await member.http.get("/v1/tasks")).json().get("tasks", [])
                return found

            [task] = await eventually(listed, "the view goes on")
            await stack.start(member.org, task["id"])
            await stack.finish(member.org, task["id"], frames=output("seen to its end"))
            await stack.succeed(member.org, task["id"])
            assert "seen to its end" in (await running).out


@contextlib.asynccontextmanager
async def door(one: int, watched: int) -> AsyncIterator[tuple[str, list[bytes]]]:
    """An address before two gateways: streams go to the second. Also the answers of a view that was behind."""
    refused: list[bytes] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readline()
        watches = first.startswith(b"GET /v1/stream ")
        there, to = await asyncio.open_connection("127.0.0.1", watched if watches else one)
        to.write(first)
        await asyncio.gather(pump(reader, to), pump(there, writer))

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if b"not_caught_up" in data:
                    refused.append(data)
                target.write(data)
                await target.drain()
        target.close()

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", refused
