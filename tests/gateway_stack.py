"""The gateway in a real process' shape: real broker, real PostgreSQL, real HTTP; the other services' words are given."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from event_examples import USED, WINDOW, admission
from remote_claude.access import credential_secrets
from remote_claude.access.scopes import ALL_SCOPES
from remote_claude.contracts import Event
from remote_claude.contracts.auth import ApiKeyIssued, ApiKeyRevoked
from remote_claude.contracts.contexts import attempt_detail_context
from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.contracts.runner import (
    AttemptFinished,
    Cumulative,
    Result,
    SealedOutput,
    TaskStarted,
    UsageRecorded,
)
from remote_claude.contracts.scheduler import (
    Limits,
    RunnerLost,
    TaskAdmitted,
    TaskAssigned,
    TaskCancelled,
    TaskFailed,
    TaskRejected,
    TaskRequeued,
    TaskSucceeded,
)
from remote_claude.contracts.users import MemberJoined
from remote_claude.eventsourcing.events import NewEvent, stream_id, timestamp
from remote_claude.gateway import service
from remote_claude.runtime.host import Host, hosting
from remote_claude.runtime.ids import new_id
from servers import Broker, settings_for

LIMITS = Limits(vcpu_millis=1000, memory_mib=512, duration_s=600)
RUNNER = "runner_test"


async def eventually(fact: Callable[[], Awaitable[Any]], what: str, timeout: float = 60.0) -> Any:
    """Wait for a fact and return it; fail after `timeout` seconds, naming it."""
    try:
        async with asyncio.timeout(timeout):
            while not (found := await fact()):  # noqa: ASYNC110  # the fact is on the other side of a network
                await asyncio.sleep(0.01)
            return found
    except TimeoutError:
        raise AssertionError(f"not within {timeout} s: {what}") from None


@dataclass
class Member:
    """Somebody with an API key."""

    org: str
    user: str
    key: str
    token: str
    http: httpx2.AsyncClient

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def submit(self, prompt: str = "do it", **body: Any) -> str:
        """A task that has been admitted."""
        answer = await self.http.post("/v1/tasks", json={"prompt": prompt, "agent": "shell", **body})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


@dataclass
class Stack:
    """A gateway, and the words of those around it."""

    host: Host
    admitting: bool = True
    rejecting: dict[str, tuple[str, str]] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    clients: list[httpx2.AsyncClient] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.host.port}"

    async def say(self, event: Event, stream: str) -> int:
        """Append what another service has to say."""
        new = NewEvent(
            event=event,
            event_id=str(uuid4()),
            occurred_at=timestamp(datetime.now(UTC)),
            subject=getattr(event, "task", None),
        )
        position = await self.host.runtime.log.append(stream, [new], expected_position=self.positions[stream])
        self.positions[stream] = position
        return position

    async def decide(self, event: Event) -> int:
        """Append a word of the scheduler."""
        org = event.org  # type: ignore[attr-defined]
        return await self.say(event, stream_id("scheduler", org, "org", org))

    async def run(self, event: Event) -> int:
        """Append a word of an attempt's runner."""
        org, task, attempt = event.org, event.task, event.attempt  # type: ignore[attr-defined]
        return await self.say(event, stream_id("runner", org, "attempt", f"{task}-{attempt}"))

    async def member(self, org: str | None = None, scopes: tuple[str, ...] = ALL_SCOPES) -> Member:
        """Somebody of a new organisation, or of this one."""
        org = org or new_id("org")
        runtime = self.host.runtime
        user, key, token = new_id("user"), new_id("key"), credential_secrets.generate()
        await runtime.keyring.create(org)
        await runtime.keyring.create(user)
        await self.say(MemberJoined(org=org, user=user, role="owner"), stream_id("users", org, "org", org))
        await self.say(
            ApiKeyIssued(
                key=key,
                org=org,
                user=user,
                prefix=token[:10],
                hash=credential_secrets.digest(token),
                scopes=scopes,
            ),
            stream_id("auth", org, "key", key),
        )
        http = httpx2.AsyncClient(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        self.clients.append(http)

        async def known() -> bool:
            return (await http.get("/v1/tasks")).status_code != 401

        await eventually(known, "the key is known")
        return Member(org, user, key, token, http)

    async def revoke(self, member: Member) -> None:
        await self.say(
            ApiKeyRevoked(key=member.key, org=member.org, reason="test"),
            stream_id("auth", member.org, "key", member.key),
        )

    # The life of a task, in the words of scheduler and runner.

    async def assign(self, org: str, task: str, attempt: int = 1) -> int:
        return await self.decide(
            TaskAssigned(
                task=task,
                org=org,
                attempt=attempt,
                runner=RUNNER,
                provider="local",
                pool="default",
                agent="shell",
                limits=LIMITS,
                deadline="2030-01-01T00:00:00.000000Z",
                lease_s=15,
            )
        )

    async def start(self, org: str, task: str, attempt: int = 1) -> int:
        await self.assign(org, task, attempt)
        return await self.run(TaskStarted(task=task, org=org, attempt=attempt, runner=RUNNER))

    async def use(self, org: str, task: str, sequence: int, cumulative: Cumulative, attempt: int = 1) -> int:
        return await self.run(
            UsageRecorded(
                task=task,
                org=org,
                attempt=attempt,
                runner=RUNNER,
                sequence=sequence,
                cumulative=cumulative,
                **WINDOW,
            )
        )

    async def finish(
        self,
        org: str,
        task: str,
        attempt: int = 1,
        *,
        outcome: str = "succeeded",
        exit_code: int | None = 0,
        result: Result | None = None,
        frames: list[dict[str, Any]] | None = None,
        reason: str | None = None,
        detail: str | None = None,
    ) -> int:
        """The runner's last event, with the output sealed."""
        key = await self.host.runtime.keyring.get(org) if detail else None
        context = attempt_detail_context(task, attempt)
        sealed = await self.seal(org, frames) if frames is not None else None
        return await self.run(
            AttemptFinished(
                task=task,
                org=org,
                attempt=attempt,
                runner=RUNNER,
                outcome=outcome,
                exit_code=exit_code,
                reason=reason,
                detail=key.seal(detail, context) if key and detail else None,
                result=result,
                output=sealed,
            )
        )

    async def seal(self, org: str, frames: list[dict[str, Any]]) -> SealedOutput:
        lines = "".join(json.dumps(frame, ensure_ascii=False) + "\n" for frame in frames)
        sha256 = await self.host.runtime.objects.put(org, lines.encode())
        return SealedOutput(sha256=sha256, frames=len(frames))

    async def succeed(self, org: str, task: str, attempt: int = 1) -> int:
        return await self.decide(TaskSucceeded(task=task, org=org, attempt=attempt, settlements=USED))

    async def fail(self, org: str, task: str, reason: str, attempt: int = 1) -> int:
        return await self.decide(
            TaskFailed(task=task, org=org, attempt=attempt, settlements=USED, reason=reason, exit_code=1)
        )

    async def cancelled(self, org: str, task: str) -> int:
        return await self.decide(TaskCancelled(task=task, org=org, settlements=USED))

    async def lose(self, org: str, task: str, attempt: int = 1) -> int:
        await self.decide(
            RunnerLost(
                task=task, org=org, attempt=attempt, runner=RUNNER, reason="lease_expired", charge=False
            )
        )
        return await self.decide(
            TaskRequeued(task=task, org=org, attempt=attempt + 1, reason="lease_expired")
        )

    async def admissions(self) -> None:
        """A scheduler that has read everything and admits whatever it is not told to reject."""
        async for batch in self.host.runtime.tail.subscribe(after=0):
            for recorded in batch:
                if recorded.type == TaskSubmitted.type and self.admitting:
                    await self._admit(recorded.event)

    async def _admit(self, submitted: TaskSubmitted) -> None:
        if submitted.org in self.rejecting:
            code, detail = self.rejecting[submitted.org]
            rejected = TaskRejected(task=submitted.task, org=submitted.org, code=code, detail=detail)
            await self.decide(rejected)
        else:
            await self.decide(TaskAdmitted(task=submitted.task, org=submitted.org, admission=admission()))


@asynccontextmanager
async def running_gateway(
    broker: Broker, dsn: str, folder: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Stack]:
    """A gateway alone in this process, and a scheduler that admits."""
    settings = settings_for(broker, dsn, folder).model_copy(update={"outbound_allow": "127.0.0.0/8"})
    async with hosting([service.build], settings, environment or {}, name="gateway") as host:
        stack = Stack(host)
        admissions = asyncio.create_task(stack.admissions())
        try:
            yield stack
        finally:
            admissions.cancel()
            for client in stack.clients:
                await client.aclose()


def output(*texts: str) -> list[dict[str, Any]]:
    """Frames of output, a text each."""
    return [
        {"kind": "output", "at": "2026-11-22T00:00:00.000000Z", "stream": "stdout", "text": t} for t in texts
    ]
