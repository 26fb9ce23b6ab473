"""Organisations that found themselves, submit, ask again, cancel, change their plan and their keys, and pry."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from nats.errors import TimeoutError as NoAnswer

from remote_claude.access import credential_secrets
from remote_claude.access.refusals import Unauthenticated
from remote_claude.contracts.billing import Entitlements
from remote_claude.contracts.refusals import Refusal
from remote_claude.edge.problems import Problem
from remote_claude.eventsourcing.log import EventLogError
from remote_claude.gateway.api.models import SubmitRequest
from remote_claude.gateway.domain.refusals import IdempotencyKeyReused, TaskNotFound
from remote_claude.gateway.handlers import SubmissionResult
from simulator.network import Note
from simulator.processes import Machine, Unanswered

PATIENCE_S = 60.0


@dataclass(slots=True)
class Asked:
    """A body that was sent under a key, and every answer to it."""

    body: SubmitRequest
    answers: list[SubmissionResult] = field(default_factory=list)


@dataclass(slots=True)
class Places:
    """Where to ask."""

    gateways: list[Machine]
    billing: list[Machine]
    users: Machine
    auth: Machine


class Customer:
    """One organisation and the person in it. Remembers every answer, to hold the others against."""

    def __init__(self, number: int, random: Random, places: Places, note: Note) -> None:
        self.org, self.user = f"org_{number}", f"user_{number}"
        self._random, self._places, self._note = random, places, note
        self.live: dict[str, str] = {}
        """API key to secret."""
        self.revoked: list[str] = []
        self.asked: dict[str, Asked] = {}
        self.acknowledged: dict[str, int] = {}
        """Task to the position that was answered."""
        self.cancelled: dict[str, int] = {}
        self.broken: list[str] = []
        self.neighbours: list[Customer] = []
        self._keys = 0

    async def found(self) -> None:
        """An organisation with an owner and a first key, however long it takes."""
        users = self._places.users
        await self._surely(lambda: users.call(lambda u: u.directory.register(self.user, "Ada")))
        await self._surely(lambda: users.call(lambda u: u.directory.create_org(self.org, "Acme", self.user)))
        await self._issue()

    async def live_on(self) -> None:
        """Do one thing after another, until cancelled."""
        await self.found()
        if self._random.random() < 0.8:
            await self._surely(self._change_plan)
        things: list[Callable[[], Awaitable[None]]] = [
            self._submit, self._ask_again, self._cancel, self._change_plan, self._issue, self._revoke,
            self._pry, self._submit_many,
        ]  # fmt: skip
        while True:
            await asyncio.sleep(self._random.expovariate(0.6))
            [thing] = self._random.choices(things, (8, 4, 4, 1, 0.5, 0.5, 0.5, 0.7))
            try:
                await thing()
            except (Unanswered, EventLogError, NoAnswer, Refusal, Unauthenticated, Problem) as error:
                self._note("is refused", org=self.org, tries=thing.__name__[1:], error=repr(error))

    async def _submit(self) -> None:
        key = f"key-{len(self.asked)}" if self._random.random() < 0.8 else None
        body = self._body()
        if key is not None:
            self.asked[key] = Asked(body)
        for _ in range(3):
            try:
                answer = await self._send(body, key)
            except (Unanswered, Refusal) as error:
                if key is None or isinstance(error, IdempotencyKeyReused):
                    raise
                await asyncio.sleep(self._random.random())
                continue
            self._hear(answer, key)
            return

    async def _submit_many(self) -> None:
        bodies = [self._body() for _ in range(self._random.randint(2, 6))]
        answers = await asyncio.gather(*(self._send(body, None) for body in bodies), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, SubmissionResult):
                self._hear(answer, None)

    async def _ask_again(self) -> None:
        """With a key that was used before: the same body is answered the same, another is refused."""
        if not self.asked:
            return
        key = self._random.choice(list(self.asked))
        asked = self.asked[key]
        if self._random.random() < 0.7:
            self._hear(await self._send(asked.body, key), key)
            return
        known = bool(asked.answers)
        other = asked.body.model_copy(update={"prompt": asked.body.prompt + "!"})
        try:
            answer = await self._send(other, key)
        except IdempotencyKeyReused:
            return
        if known:
            self.broken.append(f"{self.org}/{key} was answered for another body: {answer}")
        elif not asked.answers:
            asked.body = other  # the first had never arrived
            self._hear(answer, key)

    async def _send(self, body: SubmitRequest, key: str | None) -> SubmissionResult:
        secret = self._secret()
        answer: SubmissionResult = await self._gateway().call(lambda g: g.submit(secret, body, key))
        return answer

    def _hear(self, answer: SubmissionResult, key: str | None) -> None:
        self.acknowledged.setdefault(answer.task, answer.position)
        if key is None:
            return
        answers = self.asked[key].answers
        answers.append(answer)
        if len({(a.task, a.position) for a in answers}) > 1:
            self.broken.append(f"{self.org}/{key} was answered as two tasks: {answers}")
        if len({(a.decision.position, a.decision.code) for a in answers if a.decision is not None}) > 1:
            self.broken.append(f"{self.org}/{key} was answered with two decisions: {answers}")

    async def _cancel(self) -> None:
        if self.acknowledged:
            task = self._random.choice(list(self.acknowledged))
            secret = self._secret()
            _, position = await self._gateway().call(lambda g: g.cancel(secret, task))
            self.cancelled.setdefault(task, position)

    async def _pry(self) -> None:
        """At another organisation's task: it is not there."""
        neighbour = self._random.choice(self.neighbours)
        if not neighbour.acknowledged or neighbour is self:
            return
        task, secret = self._random.choice(list(neighbour.acknowledged)), self._secret()
        try:
            await self._gateway().call(lambda g: g.cancel(secret, task))
        except TaskNotFound:
            return
        self.broken.append(f"{self.org} may cancel {task} of {neighbour.org}")

    async def _change_plan(self) -> None:
        random = self._random
        allowed = Entitlements(
            executions_per_month=random.choice((2, 5, 9, 14)),
            vcpu_millis=random.choice((1000, 2000)),
            memory_mib=1024,
            duration_s=random.choice((15, 90)),
            concurrency=random.choice((1, 2, 3, None)),
        )
        plan = random.choice(("free", "pro", "enterprise"))
        await self._random.choice(self._places.billing).call(
            lambda b: b.accounts.set_plan(self.org, plan, allowed)
        )

    async def _issue(self) -> None:
        self._keys += 1
        key = f"key_{self.user.removeprefix('user_')}_{self._keys}"
        body = "".join(self._random.choices(credential_secrets.ALPHABET, k=credential_secrets.ENTROPY))
        secret = credential_secrets.API_KEY + body + credential_secrets._checksum(body)
        await self._surely(
            lambda: self._places.auth.call(
                lambda a: a.keys.issue(key=key, org=self.org, user=self.user, secret=secret)
            )
        )
        self.live[key] = secret

    async def _revoke(self) -> None:
        if len(self.live) < 2:
            return
        key = self._random.choice(list(self.live))
        secret = self.live.pop(key)
        await self._surely(
            lambda: self._places.auth.call(lambda a: a.keys.revoke(key=key, org=self.org, reason="lost"))
        )
        self.revoked.append(secret)

    async def _surely(self, attempt: Callable[[], Awaitable[Any]]) -> None:
        while True:
            try:
                await attempt()
                return
            except (Unanswered, EventLogError, NoAnswer):
                await asyncio.sleep(self._random.random())

    def _body(self) -> SubmitRequest:
        random = self._random
        return SubmitRequest(
            prompt=f"do {random.randrange(10**6)}",
            agent=random.choice(("shell", "shell", "shell", "noop")),
            max_attempts=random.randint(1, 3),
            timeout_s=random.choice((5, 20, 90)),
            priority=random.randint(-1, 1),
        )

    def _secret(self) -> str:
        return self._random.choice(list(self.live.values()))

    def _gateway(self) -> Machine:
        return self._random.choice(self._places.gateways)
