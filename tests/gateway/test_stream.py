"""The live stream: who may watch, what is sent, and that history and live meet without a gap or a duplicate."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway_stack import Member, Stack, eventually, output
from remote_claude.access.principal import Presented, Principal
from remote_claude.contracts.runner import Cumulative
from remote_claude.edge.websocket_frames import text_frame
from remote_claude.gateway.sockets import MAX_CHANGES, Socket
from remote_claude.gateway.watchers import Watchers

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNKNOWN = "task_00000000000000000000000000"


class Viewer:
    """A client of the stream."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def next(self, *types: str) -> dict[str, Any]:
        """The next frame; heartbeats are passed over unless asked for."""
        while True:
            frame: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), 20))
            if frame["type"] in types or (not types and frame["type"] != "heartbeat"):
                return frame

    async def until(self, *types: str) -> list[dict[str, Any]]:
        """All frames up to and with the first of these types."""
        frames = [await self.next()]
        while frames[-1]["type"] not in types:
            frames.append(await self.next())
        return frames

    async def closed(self) -> tuple[int, str]:
        """The code and the reason of the end."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.wait_for(self.socket.recv(), 20)
        assert self.socket.close_code is not None
        return self.socket.close_code, self.socket.close_reason or ""


@contextlib.asynccontextmanager
async def viewing(stack: Stack, member: Member | None) -> AsyncIterator[Viewer]:
    url = f"ws://127.0.0.1:{stack.host.port}/v1/stream"
    async with connect(
        url, additional_headers=member.headers if member else None, proxy=None, max_size=None
    ) as socket:
        yield Viewer(socket)


def texts(frames: list[dict[str, Any]]) -> list[str]:
    return [f["text"] for frame in frames if frame["type"] == "output" for f in frame["frames"]]


def states(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["state"] for frame in frames if frame["type"] == "state"]


async def test_a_watcher_sees_a_task_from_its_submission_to_its_end(stack: Stack, member: Member) -> None:
    task, org = await member.submit(), member.org
    async with viewing(stack, member) as viewer:
        await viewer.say(type="subscribe", task=task)
        first = await viewer.next()
        assert (first["type"], first["state"], first["attempt"]) == ("state", "queued", 0)
        position = await stack.start(org, task)
        assert [(await viewer.next())["state"] for _ in range(2)] == ["assigned", "running"]
        writer = stack.host.runtime.output.writer(org, task, 1)
        await writer.write(output("a", "b"))
        frame = await viewer.next()
        assert frame == {
            "type": "output", "task": task, "attempt": 1, "first": 1, "cursor": "1.2", "frames": output("a", "b"),
        }  # fmt: skip
        await writer.write(output("c"))
        await stack.finish(org, task, frames=output("a", "b", "c"))
        end_position = await stack.succeed(org, task)
        frames = await viewer.until("end")
        assert texts(frames) == ["c"]
        [state] = [frame for frame in frames if frame["type"] == "state"]
        assert (state["state"], state["position"]) == ("succeeded", end_position)
        assert frames[-1] == {"type": "end", "task": task, "state": "succeeded", "cursor": "1.3"}
        assert position < end_position


async def test_a_task_that_has_ended_is_told_from_its_history(stack: Stack, member: Member) -> None:
    task, org = await member.submit(), member.org
    await stack.start(org, task)
    await stack.finish(org, task, outcome="failed", exit_code=1, frames=output(*map(str, range(1000))))
    await stack.fail(org, task, "agent_failed")
    async with viewing(stack, member) as viewer:
        await viewer.say(type="subscribe", task=task)
        frames = await viewer.until("end")
        assert texts(frames) == [str(n) for n in range(1000)]
        assert (frames[0]["state"], frames[0]["reason"]) == ("failed", "agent_failed")
        assert frames[-1]["cursor"] == "1.1000"
        await viewer.say(type="subscribe", task=task, after="1.990")
        assert texts(await viewer.until("end")) == [str(n) for n in range(990, 1000)]
        await viewer.say(type="subscribe", task=task, after="1.1000")
        assert texts(await viewer.until("end")) == []


async def test_a_rejected_task_ends_at_once(stack: Stack, member: Member) -> None:
    stack.rejecting[member.org] = "quota_exceeded", "spent"
    task = (await member.http.post("/v1/tasks", json={"prompt": "x", "agent": "shell"})).json()["id"]
    async with viewing(stack, member) as viewer:
        await viewer.say(type="subscribe", task=task, after=None)
        frames = await viewer.until("end")
        assert [frame["type"] for frame in frames] == ["state", "end"]
        assert (frames[0]["state"], frames[0]["reason"]) == ("rejected", "quota_exceeded")


async def test_a_lost_attempt_and_its_successor_follow_each_other(stack: Stack, member: Member) -> None:
    task, org = await member.submit(), member.org
    async with viewing(stack, member) as viewer:
        await viewer.say(type="subscribe", task=task)
        assert states([await viewer.next()]) == ["queued"]
        await stack.start(org, task)
        await stack.host.runtime.output.writer(org, task, 1).write(output("1a", "1b"))
        await stack.lose(org, task)
        await stack.start(org, task, 2)
        await stack.host.runtime.output.writer(org, task, 2).write(output("2a"))
        await stack.finish(org, task, 2, frames=output("2a"))
        await stack.succeed(org, task, 2)
        frames = await viewer.until("end")
        assert texts(frames) == ["1a", "1b", "2a"]
        assert states(frames) == [
            "assigned",
            "running",
            "queued",
            "assigned",
            "running",
            "succeeded",
        ]


async def test_a_cancelled_task_ends_when_its_runner_has_said_its_last_word(
    stack: Stack, member: Member
) -> None:
    task, org = await member.submit(), member.org
    await stack.start(org, task)
    async with viewing(stack, member) as viewer:
        await viewer.say(type="subscribe", task=task)
        await viewer.next("state")
        await stack.cancelled(org, task)
        assert (await viewer.next())["state"] == "cancelled"
        await stack.finish(org, task, outcome="cancelled", exit_code=None, frames=output("last words"))
        frames = await viewer.until("end")
        assert texts(frames) == ["last words"]
        assert frames[-1]["state"] == "cancelled"


async def test_resuming_again_and_again_loses_and_repeats_nothing(stack: Stack, member: Member) -> None:
    task, org = await member.submit(), member.org
    await stack.start(org, task)
    total = 3000

    async def write() -> None:
        writer = stack.host.runtime.output.writer(org, task, 1)
        for first in range(0, total, 5):
            await writer.write(output(*map(str, range(first, first + 5))))
            await asyncio.sleep(0)
        await stack.finish(org, task, frames=output(*map(str, range(total))))
        await stack.succeed(org, task)

    writing = asyncio.create_task(write())
    seen: list[str] = []
    cursor, ended, connections = None, False, 0
    while not ended:
        connections += 1
        async with viewing(stack, member) as viewer:
            await viewer.say(type="subscribe", task=task, after=cursor)
            for _ in range(7):  # then hang up, in the middle of whatever comes
                frame = await viewer.next()
                if frame["type"] == "output":
                    assert frame["first"] == len(seen) + 1
                    seen += texts([frame])
                    cursor = frame["cursor"]
                if frame["type"] == "end":
                    ended = True
                    break
    await writing
    assert seen == [str(n) for n in range(total)]
    assert connections > 3


async def test_many_watchers_of_one_task_all_see_all_of_it(stack: Stack, member: Member) -> None:
    task, org = await member.submit(), member.org
    await stack.start(org, task)

    async def watch(delay: int) -> list[str]:
        await started[delay].wait()
        async with viewing(stack, member) as viewer:
            await viewer.say(type="subscribe", task=task)
            return texts(await viewer.until("end"))

    started = [asyncio.Event() for _ in range(20)]
    watching = [asyncio.create_task(watch(n)) for n in range(20)]
    writer = stack.host.runtime.output.writer(org, task, 1)
    for n in range(400):
        if n % 20 == 0:
            started[n // 20].set()
        await writer.write(output(str(n)))
    await stack.finish(org, task, frames=output(*map(str, range(400))))
    await stack.succeed(org, task)
    for seen in await asyncio.gather(*watching):
        assert seen == [str(n) for n in range(400)]


async def test_one_socket_watches_several_tasks_and_leaves_one(stack: Stack, member: Member) -> None:
    tasks = [await member.submit() for _ in range(3)]
    async with viewing(stack, member) as viewer:
        for task in tasks:
            await viewer.say(type="subscribe", task=task)
        assert {(await viewer.next())["task"] for _ in tasks} == set(tasks)
        await viewer.say(type="unsubscribe", task=tasks[0])
        await viewer.say(type="ping")
        await viewer.next("heartbeat")
        for task in tasks:
            await stack.assign(member.org, task)
        assert {(await viewer.next())["task"] for _ in range(2)} == set(tasks[1:])


async def test_subscribing_again_begins_anew_from_the_cursor(stack: Stack, member: Member) -> None:
    task, org = await member.submit(), member.org
    await stack.start(org, task)
    writer = stack.host.runtime.output.writer(org, task, 1)
    await writer.write(output("a", "b"))
    async with viewing(stack, member) as viewer:
        await viewer.say(type="subscribe", task=task)
        await viewer.until("output")
        await viewer.say(type="subscribe", task=task, after="1.1")
        assert texts(await viewer.until("output")) == ["b"]
        await writer.write(output("c"))
        assert texts(await viewer.until("output")) == ["c"]


async def test_a_follower_hears_of_every_change_in_its_organisation_and_of_no_other(
    stack: Stack, member: Member
) -> None:
    other = await stack.member()
    async with viewing(stack, member) as viewer:
        await viewer.say(type="follow")
        first = await viewer.next()
        assert (first["type"], first["tasks"]) == ("changed", [])
        hidden, task = await other.submit(), await member.submit()
        await stack.start(member.org, task)
        await stack.use(member.org, task, 1, Cumulative(vcpu_ms=10))
        position = await stack.succeed(member.org, task)
        frames = [await viewer.next()]
        while {frame["type"] for frame in frames if frame["position"] == position} != {"changed", "ended"}:
            frames.append(await viewer.next())
        assert {name for frame in frames if frame["type"] == "changed" for name in frame["tasks"]} == {task}
        [end] = [frame for frame in frames if frame["type"] == "ended"]
        assert end["tasks"] == [{"task": task, "state": "succeeded", "position": position}]
        assert hidden != task
        await viewer.say(type="unfollow")
        await viewer.say(type="ping")
        await viewer.next("heartbeat")
        await viewer.say(type="subscribe", task=await member.submit())
        assert (await viewer.next())["type"] == "state"


async def test_what_changes_at_once_is_one_frame_and_too_much_names_nothing() -> None:
    sent: list[dict[str, Any]] = []

    class Peer:
        async def send_text(self, data: str) -> None:
            sent.append(json.loads(data))

        async def close(self, code: int = 1000, reason: str | None = None) -> None:
            raise AssertionError

    socket = Socket(Peer(), cast("Principal", None), Presented())
    watchers = cast("Watchers", None)
    sending = asyncio.create_task(socket.send_all(watchers))
    try:
        for count, named in ((2, ["task_0", "task_1"]), (MAX_CHANGES + 5, None)):
            for number in range(count):
                socket.changed(f"task_{number}", number)

            async def received() -> bool:
                return bool(sent)

            await eventually(received, "a frame")
            assert sent == [{"type": "changed", "tasks": named, "position": count - 1}]
            sent.clear()
    finally:
        sending.cancel()


async def test_an_encoded_frame_goes_out_at_once_only_where_nothing_waits_before_it() -> None:
    written: list[bytes] = []

    class Peer:
        async def send_text(self, data: str) -> None:
            await asyncio.Event().wait()  # a client that takes nothing

        async def close(self, code: int = 1000, reason: str | None = None) -> None:
            raise AssertionError

    def write(frame: bytes) -> bool:
        written.append(frame)
        return True

    frame = text_frame("output")
    socket = Socket(Peer(), cast("Principal", None), Presented(), write)
    assert socket.write(frame)
    assert written == [b"\x81\x06output"]
    socket.put("a state that comes first")
    assert not socket.write(frame)
    sending = asyncio.create_task(socket.send_all(cast("Watchers", None)))
    try:

        async def writing() -> bool:
            return socket.writing_since is not None

        await eventually(writing, "the state is being sent")
        assert not socket.write(frame)
    finally:
        sending.cancel()
    assert len(written) == 1
    assert not Socket(Peer(), cast("Principal", None), Presented()).write(frame), "no such server"


async def test_a_key_may_come_as_the_first_message(stack: Stack, member: Member) -> None:
    task = await member.submit()
    async with viewing(stack, None) as viewer:
        await viewer.say(type="auth", token=member.token)
        await viewer.say(type="subscribe", task=task)
        assert (await viewer.next())["task"] == task


@pytest.mark.parametrize(
    "message", ['{"type": "auth", "token": "rck_no"}', '{"type": "ping"}', '{"nonsense": 1}', "x", b"\x00"]
)
async def test_without_a_good_key_the_socket_is_closed(stack: Stack, message: str | bytes) -> None:
    async with viewing(stack, None) as viewer:
        await viewer.socket.send(message)
        frame = await viewer.next()
        assert (frame["type"], frame["code"], frame["status"]) == ("error", "unauthenticated", 401)
        assert await viewer.closed() == (4401, "unauthenticated")


async def test_a_revoked_key_closes_its_open_sockets_and_no_others(stack: Stack, member: Member) -> None:
    colleague = await stack.member(member.org)
    async with viewing(stack, member) as theirs, viewing(stack, colleague) as other:
        await theirs.say(type="ping")
        await theirs.next("heartbeat")
        await stack.revoke(member)
        frame = await theirs.next()
        assert (frame["code"], frame["status"]) == ("unauthenticated", 401)
        assert (await theirs.closed())[0] == 4401
        await other.say(type="ping")
        await other.next("heartbeat")


async def test_anothers_task_is_unknown_on_the_stream_too(stack: Stack, member: Member) -> None:
    task = await member.submit()
    stranger = await stack.member()
    async with viewing(stack, member) as owner, viewing(stack, stranger) as viewer:
        await owner.say(type="subscribe", task=task)
        await owner.next("state")
        for id in (task, UNKNOWN, "x", "task_*"):
            await viewer.say(type="subscribe", task=id)
            frame = await viewer.next()
            assert (frame["code"], frame["status"], frame["task"]) == ("task_not_found", 404, id)
        await stack.assign(member.org, task)
        await owner.next("state")
        await viewer.say(type="ping")
        assert (await viewer.next("heartbeat", "state", "output"))["type"] == "heartbeat"


@pytest.mark.parametrize(
    "message",
    ["", "{", "[]", '"x"', '{"type": "nothing"}', '{"type": "subscribe"}', '{"type": "subscribe", "task": 1}',
     '{"type": "ping", "more": 1}', '{"type": "auth", "token": "x"}', b"\xff\x00"],
)  # fmt: skip
async def test_a_message_that_is_none_is_answered_and_the_socket_stays(
    stack: Stack, member: Member, message: str | bytes
) -> None:
    async with viewing(stack, member) as viewer:
        await viewer.socket.send(message)
        assert (await viewer.next())["code"] == "invalid_message"
        await viewer.say(type="ping")
        await viewer.next("heartbeat")


async def test_a_cursor_that_is_none_is_answered(stack: Stack, member: Member) -> None:
    task = await member.submit()
    async with viewing(stack, member) as viewer:
        await viewer.say(type="subscribe", task=task, after="nonsense")
        assert (await viewer.next())["code"] == "invalid_cursor"


async def test_a_socket_watches_a_bounded_number_of_tasks(stack: Stack, member: Member) -> None:
    tasks = await asyncio.gather(*(member.submit(str(n)) for n in range(101)))
    async with viewing(stack, member) as viewer:
        for task in tasks:
            await viewer.say(type="subscribe", task=task)
        frames = await viewer.until("error")
        assert len(frames) == 101
        assert frames[-1]["code"] == "too_many_subscriptions"


async def test_a_credential_has_a_bounded_number_of_sockets(stack: Stack, member: Member) -> None:
    most = stack.host.runtime.settings.max_sockets
    colleague = await stack.member(member.org)

    async def ping(viewer: Viewer) -> None:
        await viewer.say(type="ping")
        await viewer.next("heartbeat")

    async with contextlib.AsyncExitStack() as open_ones:
        viewers = [await open_ones.enter_async_context(viewing(stack, member)) for _ in range(most)]
        await asyncio.gather(*(ping(viewer) for viewer in viewers))
        async with viewing(stack, member) as refused:
            assert (await refused.next())["code"] == "too_many_sockets"
            assert await refused.closed() == (4429, "too_many_sockets")
        async with viewing(stack, colleague) as other:
            await ping(other)
        await viewers[0].socket.close()
        async with viewing(stack, member) as again:
            await ping(again)


async def test_what_is_left_behind_by_sockets_is_nothing(stack: Stack, member: Member) -> None:
    task = await member.submit()
    for _ in range(3):
        async with viewing(stack, member) as viewer:
            await viewer.say(type="subscribe", task=task)
            await viewer.next("state")

    async def forgotten() -> bool:
        status = (await member.http.get("/v1/status")).json()["services"]["gateway"]
        return (status["sockets"], status["watches"]) == (0, 0)

    await eventually(forgotten, "no socket and no watch is left")
