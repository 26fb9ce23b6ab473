"""What the broker's answers to an append mean, by their number."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from remote_claude.eventsourcing.message_frames import status


class Landed(NamedTuple):
    """Acknowledged; `position` is that of the last message."""

    position: int


class Moved(NamedTuple):
    """10071, 10201: not stored by this attempt. A stream isn't where it was expected; `actual` is where."""

    actual: int


class Undecided(NamedTuple):
    """10002, 10164, 10176, 10210, no responders, no answer: nothing is known, or nothing was stored. The same bytes again."""

    reason: str
    apart: bool = False


class RefusedAppend(NamedTuple):
    """An answer that another try won't change."""

    reason: str


class Denied(NamedTuple):
    """This connection may not publish to the stream: nothing was stored."""

    stream: str


Answer = Landed | Moved | Undecided | RefusedAppend | Denied


def read_answer(headers: bytes, data: bytes) -> Answer:
    """What the broker's answer to a publish or to a batch's commit means, by its number."""
    if code := status(headers):
        return Undecided("no stream listens: is JetStream starting?" if code == 503 else f"status {code}")
    answer = orjson.loads(data)
    error = answer.get("error")
    if error is None:
        return Landed(answer["seq"])
    number, text = error.get("err_code"), f"{error.get('description')} ({error.get('err_code')})"
    match number:
        case 10071:  # wrong last sequence: <n>
            return Moved(int(text.split()[3]))
        case 10201:  # a message id that is known
            return Moved(0)
        case 10002 | 10164 | 10210:  # the account is full; another append is in flight; too many open batches
            return Undecided(text)
        case 10176:  # a message of the batch never arrived: a leader has changed, or one was not permitted
            return Undecided(text, apart=True)
    return Undecided(text) if error.get("code", 0) in (429, 500, 503) else RefusedAppend(text)
