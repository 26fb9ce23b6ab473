"""Processes: they start, fall asleep, die at whatever they wait for, and start again with nothing in their memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from datetime import datetime, timedelta
from random import Random
from typing import Any, Protocol
from uuid import UUID

from remote_claude.access.keyring import Keyring
from remote_claude.runtime.host import keep_running
from remote_claude.runtime.ids import derived_id
from simulator.loop import Life, VirtualLoop, life, outside
from simulator.network import Broker, Note, SimulatedBucket, SimulatedLog, SimulatedNats

NAMESPACE = UUID("0a6a5b34-9d0e-4f0e-8a58-0f4f8f6f5d0c")
KEK = bytes(32)
STARTS_AGAIN_S = 1.0


class Unanswered(Exception):
    """Nobody was there, or no answer came: the caller knows nothing."""


class Program(Protocol):
    """A service in a process: `run` starts it up, says `ready`, and runs until it is cancelled."""

    async def run(self, ready: Callable[[], None]) -> None: ...

    async def close(self) -> None: ...


class Machine:
    """What outlives its processes: a name, clocks that are a little wrong, a random source."""

    def __init__(
        self,
        name: str,
        broker: Broker,
        random: Random,
        begins: datetime,
        note: Note,
        build: Callable[[Machine], Program],
    ) -> None:
        self.name, self.broker, self.note = name, broker, note
        self._random, self._begins, self._build = random, begins, build
        self._skew = random.uniform(-2.0, 2.0)
        self._rate = random.uniform(0.99, 1.01)
        self._life: Life | None = None
        self._lives = 0
        self._program: Program | None = None
        self.restarts = True
        self._graves: list[asyncio.Task[None]] = []

    # What a process gets from its machine.

    def clock(self) -> datetime:
        return self._begins + timedelta(seconds=_loop().time() + self._skew)

    def monotonic(self) -> float:
        return 1000.0 + _loop().time() * self._rate

    def event_id(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def new_id(self, prefix: str) -> str:
        return derived_id(prefix, NAMESPACE, self.event_id())

    def log(self) -> SimulatedLog:
        return SimulatedLog(self.broker, self.name)

    def nats(self) -> SimulatedNats:
        return SimulatedNats(self.broker, self.name)

    def keyring(self) -> Keyring:
        bucket: Any = SimulatedBucket(self.broker, self.name)
        return Keyring(bucket, KEK, self.monotonic, self._random.randbytes)

    # Its life.

    @property
    def life(self) -> Life | None:
        return self._life

    @property
    def inside(self) -> Any:
        """What runs here, awake or not."""
        return self._program

    @property
    def program(self) -> Any:
        """What runs here, once it is ready; None while there is nothing, or it is asleep."""
        return None if self._life is None or self._life.asleep else self._program

    def start(self) -> None:
        """A new process, unless one runs."""
        if self._life is not None or not self.restarts:
            return
        self._lives += 1
        self._life = born = Life(f"{self.name}.{self._lives}")
        self.note("starts", process=born.name)
        _loop().create_task(self._run(born), context=self._context(born))

    async def _run(self, mine: Life) -> None:
        program = self._build(self)

        def ready() -> None:
            self._program = program

        try:
            await program.run(ready)
        except Exception as error:
            self.note("ends by itself", process=mine.name, error=repr(error))
        if self._life is mine:
            _loop().call_soon(self.crash, context=outside())
            _loop().call_later(STARTS_AGAIN_S, self.start, context=outside())

    def crash(self) -> None:
        """The process is gone, and whatever it was about to do."""
        dead, self._life, self._program = self._life, None, None
        if dead is None:
            return
        self.note("dies", process=dead.name)
        dead.alive = False
        _loop().wake(dead)  # to be buried: what it does from now on reaches nobody
        self._graves.append(_loop().create_task(_bury(dead), context=outside()))

    async def buried(self) -> None:
        """Nothing is left of the processes that have died."""
        await asyncio.gather(*self._graves)

    async def stop(self) -> None:
        """The process is asked to end, does what it does at its end, and ends."""
        ends, program, self._program = self._life, self._program, None
        if ends is None:
            return
        try:
            if program is not None:
                closing = _loop().create_task(program.close(), context=self._context(ends))
                await asyncio.wait((closing,), timeout=15.0)
        finally:
            if self._life is ends:
                self.crash()

    def sleep(self) -> None:
        """The process does not get the processor, and its memory stays."""
        if self._life is not None and not self._life.asleep:
            self.note("falls asleep", process=self._life.name)
            self._life.asleep = True

    def wake(self) -> None:
        if self._life is not None and self._life.asleep:
            self.note("wakes up", process=self._life.name)
            _loop().wake(self._life)

    async def call(self, request: Callable[[Any], Awaitable[Any]], timeout: float = 10.0) -> Any:
        """What a request to this process comes to. It dies with the process. Raises `Unanswered`."""
        if (program := self.program) is None or not self._arrives():
            raise Unanswered
        assert self._life is not None
        task = _loop().create_task(_awaited(request(program)), context=self._context(self._life))
        await asyncio.wait((task,), timeout=timeout)
        if not task.done() or task.cancelled():
            raise Unanswered
        if (error := task.exception()) is not None:
            raise error
        if not self._arrives():
            raise Unanswered
        return task.result()

    def _arrives(self) -> bool:
        return not self.broker.loses()

    def _context(self, owner: Life) -> Context:
        context = outside()
        context.run(life.set, owner)
        return context


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


async def in_background(work: Mapping[str, Callable[[], Awaitable[None]]]) -> None:
    """Keep it all running, as a host does."""
    async with asyncio.TaskGroup() as group:
        for name, run in work.items():
            group.create_task(keep_running(name, run))


async def _bury(dead: Life) -> None:
    while dead.tasks:
        for task in list(dead.tasks):
            task.cancel()
        await asyncio.sleep(0.01)


def _loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop
