"""What a runner launches, without a sandbox in it: it runs for a time, uses what it was given, and comes to an end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random

from remote_claude.contracts.gateway import PermissionAnswered, TaskCancellationRequested, TaskMessageSent
from remote_claude.contracts.leases import HeldAttempt
from remote_claude.contracts.model_prices import list_prices
from remote_claude.contracts.runner import WORKER_LOST, AttemptOutcome, Cumulative, ModelUse
from remote_claude.contracts.scheduler import TaskAssigned
from remote_claude.eventsourcing.events import parse_timestamp, stream_id
from remote_claude.runner import billed_time
from remote_claude.runner.domain.attempt import Finish, Measured, Sample, Start
from remote_claude.runner.handlers import AttemptLog, Superseded
from remote_claude.runner.leases.lease import Lease
from remote_claude.runner.stopping import OUTCOME_OF_STOP, StopReason
from simulator.loop import is_dead, outside
from simulator.network import Note
from simulator.processes import Machine

SAMPLE_S = 5.0
PRICES = list_prices()


@dataclass(frozen=True, slots=True)
class Plot:
    """What is going to happen in a sandbox: after `seconds` it ends; None is without a word."""

    seconds: float
    outcome: AttemptOutcome | None

    @classmethod
    def of(cls, random: Random) -> Plot:
        outcomes: tuple[AttemptOutcome | None, ...] = ("succeeded", "failed", None)
        outcome = random.choices(outcomes, (8, 2, 1))[0]
        hangs = random.random() < 0.05
        return cls(1e6 if hangs else random.choice((0.2, 3.0, 20.0, 80.0)) * random.random(), outcome)


class Sandbox:
    """Lives on its own: not with the process that launched it, but no longer than a lease without it."""

    def __init__(self, assigned: TaskAssigned, plot: Plot, lease_s: float) -> None:
        loop = asyncio.get_running_loop()
        self.runner = assigned.runner
        self.task, self.attempt = assigned.task, assigned.attempt
        self.plot = plot
        self.began, self.ended = loop.time(), float("inf")
        self.over: asyncio.Future[AttemptOutcome | None] = loop.create_future()
        self._ends = loop.call_later(plot.seconds, self._end, plot.outcome, context=outside())
        self._lapses = loop.call_later(lease_s, self._end, None, context=outside())

    @property
    def wall_ms(self) -> int:
        return int((min(self.ended, asyncio.get_running_loop().time()) - self.began) * 1000)

    def renew(self, seconds: float) -> None:
        """By the one that launched it: it may go on for so long from now."""
        if not self.over.done() and not is_dead():
            self._lapses.cancel()
            loop = asyncio.get_running_loop()
            self._lapses = loop.call_later(seconds, self._end, None, context=outside())

    def terminate(self) -> None:
        """By the one that launched it, or by its next life."""
        if not is_dead():
            self._end(None)

    def _end(self, outcome: AttemptOutcome | None) -> None:
        self._ends.cancel()
        self._lapses.cancel()
        if not self.over.done():
            self.ended = asyncio.get_running_loop().time()
            self.over.set_result(outcome)


@dataclass(slots=True)
class Sandboxes:
    """Every sandbox there ever was; says what must not be."""

    random: Random
    note: Note
    all: dict[tuple[str, int], Sandbox] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    finished: dict[tuple[str, int], Finish] = field(default_factory=dict)
    """How an attempt ended, where the log has told its runner that it knows."""

    def reap(self, runner: str) -> None:
        """What an earlier life of a runner has left behind ends."""
        for sandbox in self.all.values():
            if sandbox.runner == runner:
                sandbox.terminate()

    def launch(self, assigned: TaskAssigned, lease_s: float) -> Sandbox:
        key = assigned.task, assigned.attempt
        if key in self.all:
            self.broken.append(f"attempt {key} was launched twice")
        for other in self.all.values():
            if other.task == assigned.task and not other.over.done():
                self.broken.append(f"attempt {key} was launched while {other.attempt} still ran")
        sandbox = self.all[key] = Sandbox(assigned, Plot.of(self.random), lease_s)
        self.note("launched", task=assigned.task, attempt=assigned.attempt, plot=sandbox.plot)
        return sandbox


class Execution:
    """One attempt, as `SandboxedExecution` has it, on a sandbox that is none."""

    def __init__(
        self,
        machine: Machine,
        sandboxes: Sandboxes,
        assigned: TaskAssigned,
        attempt_log: AttemptLog,
        lease: Lease,
    ) -> None:
        self._lease = lease
        self._held = HeldAttempt(org=assigned.org, task=assigned.task, attempt=assigned.attempt)
        self._machine, self._sandboxes, self._assigned, self._attempt_log = (
            machine,
            sandboxes,
            assigned,
            attempt_log,
        )
        self._log = machine.log()
        self._stop_reason: StopReason | None = None
        self._stopped = asyncio.Event()

    def stop(self, reason: StopReason) -> None:
        if self._stop_reason is None:
            self._stop_reason = reason
            self._stopped.set()

    def message(self, event: TaskMessageSent | PermissionAnswered) -> None:
        """Nobody sends messages here."""

    async def run(self) -> None:
        try:
            finish = await self._attempt()
            await self._say(finish)
        except Superseded as error:
            self._machine.note("superseded", runner=self._machine.name, detail=str(error))
        except Exception as error:
            self._machine.note("gives an attempt back", runner=self._machine.name, error=repr(error))
            await self._say(Finish(outcome="lost", reason="runner_failed"))

    async def _say(self, finish: Finish) -> None:
        await self._attempt_log.record(finish)
        self._sandboxes.finished[self._assigned.task, self._assigned.attempt] = finish

    async def _attempt(self) -> Finish:
        assigned = self._assigned
        self._lease.want()
        history = await self._log.read_stream(stream_id("gateway", assigned.org, "task", assigned.task))
        if any(recorded.type == TaskCancellationRequested.type for recorded in history):
            self.stop("cancelled")
        await asyncio.sleep(self._sandboxes.random.random())  # the source
        await self._lease.cover(self._held, unless=self._stopped)
        if self._stop_reason is not None:
            return Finish(outcome=OUTCOME_OF_STOP[self._stop_reason], reason=self._stop_reason)
        self._window = billed_time.Window(self._machine.clock)
        sandbox = self._sandboxes.launch(assigned, self._lease.to_pass_on)
        try:
            return await self._attended(sandbox)
        finally:
            sandbox.terminate()

    async def _attended(self, sandbox: Sandbox) -> Finish:
        left = parse_timestamp(self._assigned.deadline) - self._machine.clock()
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(max(0.0, left.total_seconds()), self.stop, "timed_out")
        over = asyncio.Event()
        attending = [
            asyncio.create_task(self._renew(sandbox, over)),
            asyncio.create_task(self._sample(sandbox, over)),
        ]
        attending[1].add_done_callback(
            lambda done: self.stop("revoked") if not done.cancelled() and done.exception() else None
        )
        try:
            await self._attempt_log.record(Start())
            stopped = asyncio.create_task(self._stopped.wait())
            await asyncio.wait((sandbox.over, stopped), return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
        finally:
            sandbox.terminate()
            deadline.cancel()
            over.set()
            for outcome in await asyncio.gather(*attending, return_exceptions=True):
                if isinstance(outcome, Exception):
                    raise outcome
        return self._finish(sandbox)

    def _finish(self, sandbox: Sandbox) -> Finish:
        used = self._used(sandbox)
        if self._stop_reason is not None:
            return Finish(outcome=OUTCOME_OF_STOP[self._stop_reason], reason=self._stop_reason, used=used)
        outcome = sandbox.over.result()
        if outcome is None:
            return Finish(outcome="lost", reason=WORKER_LOST, used=used)
        return Finish(outcome=outcome, exit_code=0 if outcome == "succeeded" else 1, used=used)

    async def _renew(self, sandbox: Sandbox, over: asyncio.Event) -> None:
        while await _every(self._lease.seconds / 3, over):
            if (seconds := self._lease.to_pass_on) > 0:
                sandbox.renew(seconds)

    async def _sample(self, sandbox: Sandbox, over: asyncio.Event) -> None:
        while await _every(SAMPLE_S, over):
            await self._attempt_log.record(Sample(self._used(sandbox)))

    def _used(self, sandbox: Sandbox) -> Measured:
        wall_ms = sandbox.wall_ms
        use = ModelUse(
            provider="anthropic", model="claude-haiku-4-5", calls=1, quantities={"input": wall_ms + 7}
        )
        cost = PRICES.nano_usd(use)
        model = Cumulative(model_use=(use,), model_nano_usd=cost, price_table=PRICES.version)
        return self._window.measured(billed_time.used(self._assigned.limits, wall_ms, model=model))


async def _every(seconds: float, over: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await over.wait()
    except TimeoutError:
        pass
    return not over.is_set()
