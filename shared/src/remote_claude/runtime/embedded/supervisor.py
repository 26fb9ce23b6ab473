"""Keeping children alive: started side by side, restarted when they crash, stopped in reverse order."""

import asyncio
import logging
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from remote_claude.concurrency.tasks import first_of
from remote_claude.runtime.embedded.child_process import Child, exited, open_log, rotate_log, spawn
from remote_claude.runtime.embedded.errors import ServerDidNotStart

log = logging.getLogger(__name__)

FIRST_TRIES = 3  # a predecessor that is on its way out may still hold port or data
_LOG_TAIL = 2000

Process = subprocess.Popen[bytes]
Others = Callable[[], Awaitable[None]] | None
"""Returns when those that a child comes after are ready."""


@dataclass(slots=True)
class Backoff:
    """Seconds to wait before the next start: doubling, and from the beginning once a child has lasted."""

    first: float = 0.1
    longest: float = 5.0
    lasted: float = 10.0
    _next: float = field(default=0.0, init=False)

    def after(self, uptime: float) -> float:
        """The wait after a run of `uptime` seconds."""
        wait = self.first if uptime >= self.lasted or not self._next else self._next
        self._next = min(wait * 2, self.longest)
        return wait


class Supervisor:
    """Runs `children` on the event loop of the thread that must outlive them (it ends: they end).

    `on_change` gets the process numbers by name whenever one changes. Logs that have grown large are moved aside every
    `rotate_s` seconds. As a context manager it starts and stops.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        log_dir: Path,
        on_change: Callable[[dict[str, int]], None] = lambda pids: None,
        backoff: Callable[[], Backoff] = Backoff,
        rotate_s: float = 60.0,
    ) -> None:
        self._children, self._log_dir = list(children), log_dir
        self._on_change, self._backoff = on_change, backoff
        self._processes: dict[str, Process] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._rotate_s = rotate_s
        self._rotation: asyncio.Task[None] | None = None

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run now, by child's name."""
        return {name: process.pid for name, process in self._processes.items()}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the children, and return when all are ready.

        Raises `ServerDidNotStart` with the end of the child's log, or what `first` raises, nothing left running.
        """
        ready = {child.name: asyncio.Event() for child in self._children}
        starting = [asyncio.create_task(self._start(child, ready)) for child in self._children]
        try:
            await asyncio.gather(*starting)
        except BaseException:
            for task in starting:
                task.cancel()
            await asyncio.wait(starting)
            await self.stop()
            raise
        self._rotation = asyncio.create_task(self._rotate_logs())

    async def wait(self) -> None:
        """Return when stopped; raise if watching itself has failed, which no restart fixes."""
        for watch in await first_of(*self._watches.values()):
            if watch is not None and not watch.cancelled():
                watch.result()

    async def stop(self) -> None:
        """End the children in reverse order: each asked first, killed when its `stop_timeout` is over."""
        if self._rotation is not None:
            self._rotation.cancel()
        for child in reversed(self._children):
            if watch := self._watches.pop(child.name, None):
                watch.cancel()
                await asyncio.wait([watch])
            if process := self._processes.get(child.name):
                await self._end(child, process)

    async def restart(self, name: str) -> None:
        """End a child that runs but does not work any more; it is started again as after a crash."""
        [child] = [child for child in self._children if child.name == name]
        if process := self._processes.get(name):
            await self._end(child, process)

    async def _rotate_logs(self) -> None:
        while True:
            await asyncio.sleep(self._rotate_s)
            for child in self._children:
                try:
                    await asyncio.to_thread(rotate_log, self._log_dir, child.name)
                except OSError as error:
                    log.warning("the log of %s can't be moved aside: %s", child.name, error)

    async def _start(self, child: Child, ready: Mapping[str, asyncio.Event]) -> None:
        async def others() -> None:
            for name in child.after:
                await ready[name].wait()

        if not child.early:
            await others()
        if child.first is not None:
            made = asyncio.create_task(asyncio.to_thread(child.first))
            try:
                await asyncio.shield(made)
            finally:  # nobody can cancel a thread
                await asyncio.wait([made])
        began = asyncio.get_running_loop().time()
        process = await self._start_first(child, others if child.early else None)
        watch = self._watch(child, process, began)
        self._watches[child.name] = asyncio.create_task(watch, name=f"watch {child.name}")
        ready[child.name].set()

    async def _start_first(self, child: Child, others: Others = None) -> Process:
        backoff = self._backoff()
        for _ in range(FIRST_TRIES - 1):
            try:
                return await self._bring_up(child, others)
            except ServerDidNotStart:
                await asyncio.sleep(backoff.after(0))
        return await self._bring_up(child, others)

    async def _bring_up(self, child: Child, others: Others = None) -> Process:
        """Start the child and wait until it is ready. Otherwise it is ended, and `ServerDidNotStart` raised.

        Its standard input ends when `others` returns.
        """
        with open_log(self._log_dir, child.name) as output:
            begin = output.tell()
        process = self._processes[child.name] = spawn(child, self._log_dir, input_stays=others is not None)
        self._on_change(self.pids)

        async def is_ready() -> None:
            if others is not None and process.stdin is not None:
                await others()
                process.stdin.close()
            await child.ready()

        ended, ready = await first_of(exited(process), is_ready(), timeout=child.ready_timeout)
        what = f"ended with {process.poll()}" if ended else f"did not answer within {child.ready_timeout} s"
        if ready is not None:
            try:
                ready.result()
                return process
            except TimeoutError as error:
                what = str(error)
        await self._end(child, process)
        raise ServerDidNotStart(f"{child.name} {what}; {self._log_tail(child, begin)}")

    async def _watch(self, child: Child, process: Process, began: float) -> None:
        """Restart the child whenever it ends."""
        clock, backoff = asyncio.get_running_loop().time, self._backoff()
        while True:
            code = await exited(process)
            self._forget(child, process)
            wait = backoff.after(clock() - began)
            log.warning("%s ended with %s: started again in %.1f s", child.name, code, wait)
            while True:
                await asyncio.sleep(wait)
                began = clock()
                try:
                    process = await self._bring_up(child)
                except ServerDidNotStart as error:
                    wait = backoff.after(0)
                    log.error("%s did not start (%s): tried again in %.1f s", child.name, error, wait)
                else:
                    break
            log.warning("%s runs again as process %d", child.name, process.pid)

    async def _end(self, child: Child, process: Process) -> None:
        process.send_signal(child.stop_signal)
        try:
            async with asyncio.timeout(child.stop_timeout):
                await exited(process)
        except TimeoutError:
            log.warning("%s was killed: it had not ended after %.0f s", child.name, child.stop_timeout)
            os.killpg(process.pid, signal.SIGKILL)
            await exited(process)
        self._forget(child, process)

    def _forget(self, child: Child, process: Process) -> None:
        if self._processes.get(child.name) is process:
            del self._processes[child.name]
            self._on_change(self.pids)

    def _log_tail(self, child: Child, begin: int) -> str:
        """What the child has said since then: its last lines, each whole."""
        path = self._log_dir / f"{child.name}.log"
        with path.open("rb") as file:
            file.seek(begin)
            lines = file.read().decode(errors="replace").strip().splitlines()[-12:]
        while len(lines) > 1 and sum(map(len, lines)) > _LOG_TAIL:
            del lines[0]
        return f"the end of {path} says:\n" + "\n".join(lines)
