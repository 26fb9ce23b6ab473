"""Reading single streams out of the log without a consumer: JetStream's direct get, in batches."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import orjson

from remote_claude.eventsourcing.cloudevents import decode_event
from remote_claude.eventsourcing.events import Codec, RecordedEvent
from remote_claude.eventsourcing.jetstream.nats_client import Wire
from remote_claude.eventsourcing.log import EventLogError, LogIncomplete, LogUnavailable
from remote_claude.eventsourcing.message_frames import parse_headers, status

BATCH = 1000
NO_MESSAGE = 10037
NO_STREAM = 10059


class Last(NamedTuple):
    """The last event of a stream."""

    position: int
    event_id: str


class DirectReader:
    """Direct reads of one JetStream stream. Any replica answers them, so a read names the position that it must have reached."""

    def __init__(self, wire: Wire, stream: str, codec: Codec, *, timeout: float) -> None:
        self._wire = wire
        self._stream = stream
        self._codec = codec
        self._timeout = timeout

    async def history(self, subject: str, *, after: int = 0, reaching: int = 0) -> list[RecordedEvent]:
        """The events of one subject, read again until they go up to `reaching`.

        Raises `LogUnavailable`, `LogIncomplete`.
        """
        events: list[RecordedEvent] = []
        for attempt in self._attempts(f"{subject} up to {reaching}"):
            start, pending, promised = events[-1].position if events else after, 1, 0
            while pending:
                page, pending = await self._page({"batch": BATCH, "seq": start + 1, "next_by_subj": subject})
                if promised and not page:  # by this replica, which may be behind the one that promised
                    if not await self.leader_next(start, subject):
                        raise LogIncomplete(f"{promised} of {subject} after position {start}")
                    break
                events += page
                start, promised = page[-1].position if page else start, pending
            else:
                if reaching <= after or (events and events[-1].position >= reaching):
                    return events
            await asyncio.sleep(attempt)
        raise AssertionError  # _attempts raises

    async def lasts(self, subjects: list[str], *, reaching: int = 0) -> dict[str, Last]:
        """The last event of each of up to 1,000 subjects, those without one left out."""
        for attempt in self._attempts(f"the last events of {len(subjects)} streams up to {reaching}"):
            found: dict[str, Last] = {}
            left, pending = subjects, 1
            while pending and left:  # the broker cuts off an answer of many megabytes
                page, pending = await self._page({"multi_last": left})
                found |= {event.stream: Last(event.position, event.event_id) for event in page}
                left = [subject for subject in left if subject not in found] if page else []
            if not reaching or any(last.position >= reaching for last in found.values()):
                return found
            await asyncio.sleep(attempt)
        raise AssertionError

    async def leader_last(self, subject: str) -> int:
        """The position of a subject's last event by the leader's word, 0 for none."""
        return await self._by_leader({"last_by_subj": subject})

    async def leader_next(self, after: int, subjects: str | None = None) -> int:
        """The position of the next event, of some subjects or of all, by the leader's word; 0 for none."""
        return await self._by_leader({"seq": after + 1, "next_by_subj": subjects or ">"})

    async def _by_leader(self, request: dict[str, object]) -> int:
        answer = await self._wire.api(f"STREAM.MSG.GET.{self._stream}", request, timeout=self._timeout)
        if "error" in answer:
            if answer["error"].get("err_code") == NO_MESSAGE:
                return 0
            raise unavailable(self._stream, answer["error"])
        return int(answer["message"]["seq"])

    async def last_position(self) -> int:
        """The position of the log's last event, by the leader's word."""
        return (await self.bounds())[1]

    async def bounds(self) -> tuple[int, int]:
        """The positions of the first and last event, by the leader's word; of an empty stream (last + 1, last)."""
        state = (await self._info())["state"]
        last = int(state["last_seq"])
        return (int(state["first_seq"]) if state["messages"] else last + 1), last

    async def lost(self) -> int:
        """How many positions between the first and the last event hold nothing, by the leader's count."""
        state = (await self._info())["state"]
        if not state["messages"]:
            return 0
        return int(state["last_seq"]) - int(state["first_seq"]) + 1 - int(state["messages"])

    async def replicated(self) -> bool:
        """Whether several brokers keep the stream."""
        return int((await self._info())["config"]["num_replicas"]) > 1

    async def _info(self) -> dict[str, Any]:
        answer = await self._wire.api(f"STREAM.INFO.{self._stream}", timeout=self._timeout)
        if "error" in answer:
            raise unavailable(self._stream, answer["error"])
        return answer

    async def readers(self) -> int:
        """How many consumers of the log somebody waits on just now."""
        found: list[dict[str, Any]] = []
        more = True
        while more:
            request = {"offset": len(found)}
            answer = await self._wire.api(f"CONSUMER.LIST.{self._stream}", request, timeout=self._timeout)
            if "error" in answer:
                raise unavailable(self._stream, answer["error"])
            page = answer.get("consumers") or []
            found += page
            more = bool(page) and len(found) < answer["total"]
        return sum(bool(c.get("num_waiting") or c.get("push_bound")) for c in found)

    def _attempts(self, what: str) -> _Attempts:
        return _Attempts(what, self._timeout)

    async def _page(self, request: dict[str, object]) -> tuple[list[RecordedEvent], int]:
        replies = await self._wire.gather(
            f"$JS.API.DIRECT.GET.{self._stream}",
            orjson.dumps(request),
            last=lambda headers, _: status(headers) > 0,
            timeout=self._timeout,
        )
        end = replies.pop()[0]
        code = status(end)
        if code == 404:
            return [], 0
        if code != 204:
            text = end.partition(b"\r\n")[0].decode()
            raise LogUnavailable(f"a direct read of {self._stream} was answered {text!r}")
        events = []
        for block, data in replies:
            headers = parse_headers(block)
            events.append(
                decode_event(int(headers["Nats-Sequence"]), headers["Nats-Subject"], block, data, self._codec)
            )
        return events, int(parse_headers(end).get("Nats-Num-Pending", 0))


class _Attempts:
    """Pauses of 5, 10, 20... ms to sleep between attempts, until the time is up: then `LogUnavailable`."""

    def __init__(self, what: str, timeout: float) -> None:
        self._what, self._timeout = what, timeout
        self._end = asyncio.get_running_loop().time() + timeout
        self._pause = 0.0025

    def __iter__(self) -> _Attempts:
        return self

    def __next__(self) -> float:
        if asyncio.get_running_loop().time() > self._end:
            raise LogUnavailable(f"no replica showed {self._what} within {self._timeout} s")
        self._pause = min(self._pause * 2, 0.25)
        return self._pause


def unavailable(stream: str, error: dict[str, object]) -> EventLogError:
    """What an error of JetStream's API means for a reader."""
    if error.get("err_code") == NO_STREAM:
        return LogUnavailable(f"the broker has no stream {stream}: create the streams first")
    return LogUnavailable(f"JetStream: {error.get('description')} ({error.get('err_code')})")
