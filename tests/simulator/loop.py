"""An asyncio event loop whose time is virtual, and whose order of callbacks follows from a seed.

When nothing is ready, the clock jumps to the next timer: an hour passes in no time. There is no way out of it: no
sockets, no threads, no processes. The same seed runs the same callbacks in the same order, whatever Python's hashes.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from itertools import count
from random import Random
from typing import Any, TypeVar, TypeVarTuple

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Life:
    """One life of a process: its tasks, and whether it is awake. What it starts belongs to it, through the context."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.asleep = False
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.parked: list[asyncio.Handle] = []
        """What would have run while it was asleep."""


life: ContextVar[Life] = ContextVar("life")


def is_dead() -> bool:
    """Whether what runs here is left of a process that has died: what it does has no effect."""
    owner = life.get(None)
    return owner is not None and not owner.alive


class OutsideWorld(RuntimeError):
    """Something in the simulation tried to do real input or output."""


class NothingLeft(RuntimeError):
    """Everybody waits, and nothing will ever happen again."""


class _Numbered:
    """Hashed by its number: sets of these are the same in every run."""

    _number: int

    def __hash__(self) -> int:
        return self._number


class NumberedFuture(_Numbered, asyncio.Future[Any]):
    __hash__ = _Numbered.__hash__


class NumberedTask(_Numbered, asyncio.Task[Any]):
    __hash__ = _Numbered.__hash__


class VirtualLoop(asyncio.BaseEventLoop):
    """Time in seconds from 0."""

    _ready: deque[Any]  # asyncio's own, and not among its declared types
    _scheduled: list[Any]

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random
        self._now = 0.0
        self._numbers = count()
        self._running: dict[asyncio.Task[Any], None] = {}

    def time(self) -> float:
        return self._now

    def create_future(self) -> asyncio.Future[Any]:
        NumberedFuture._number = 0
        future = NumberedFuture(loop=self)
        future._number = next(self._numbers)
        return future

    def create_task(
        self, coro: Any, *, name: object = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        NumberedTask._number = number = next(self._numbers)  # hashed while it is being made
        task = NumberedTask(coro, loop=self, name=str(name or f"task {number}"), context=context)
        task._number = number
        owner = (copy_context() if context is None else context).get(life)
        tasks = self._running if owner is None else owner.tasks
        tasks[task] = None
        task.add_done_callback(lambda done: tasks.pop(done, None))
        return task

    def wake(self, sleeper: Life) -> None:
        """Let everything run that was due while it was asleep."""
        sleeper.asleep = False
        self._ready.extend(sleeper.parked)
        sleeper.parked = []

    def _run_once(self) -> None:
        timers = self._scheduled
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
        if not self._ready:
            if not timers:
                raise NothingLeft(f"nothing is left to happen after {self._now:.3f} s")
            self._now = max(self._now, timers[0]._when)
        while timers and timers[0]._when <= self._now:
            timer = heapq.heappop(timers)
            timer._scheduled = False
            self._ready.append(timer)
        batch = list(self._ready)
        self._ready.clear()
        if len(batch) > 1:
            self._random.shuffle(batch)
        for handle in batch:
            if handle._cancelled:
                continue
            owner = handle._context.get(life)
            if owner is not None and owner.asleep:
                owner.parked.append(handle)
                continue
            handle._run()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # it is dropped when its time comes

    def _process_events(self, event_list: Any) -> None:
        raise OutsideWorld("events of real input")

    def _write_to_self(self) -> None:
        raise OutsideWorld("a call from another thread")

    def run_in_executor(
        self, executor: Any, func: Callable[[*Arguments], Result], *args: *Arguments
    ) -> asyncio.Future[Result]:
        raise OutsideWorld(f"{func} in a thread")

    async def _outside(self, *args: Any, **options: Any) -> Any:
        raise OutsideWorld("a connection, a server or a process")

    getaddrinfo = create_connection = create_server = create_datagram_endpoint = _outside
    create_unix_connection = create_unix_server = subprocess_exec = subprocess_shell = _outside

    def call_soon_threadsafe(
        self, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)  # asyncio's own, at the end of generators


def outside() -> Context:
    """The context of what belongs to no process: the network, the users, the weather."""
    return Context()


def run(
    main: Callable[[], Coroutine[Any, Any, Result]],
    random: Random,
    on_error: Callable[[dict[str, Any]], None] | None = None,
) -> Result:
    """Run to the end in a loop of its own. `on_error` hears of exceptions that nobody has taken."""
    loop = VirtualLoop(random)
    if on_error is not None:
        loop.set_exception_handler(lambda _, problem: on_error(problem))
    collecting = gc.isenabled()
    gc.disable()  # generators end when their last user does, not when a collection happens to run
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main())
    finally:
        try:
            _end(loop)
        finally:
            asyncio.set_event_loop(None)
            loop.close()
            if collecting:
                gc.enable()


def _end(loop: VirtualLoop) -> None:
    left = list(loop._running)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
