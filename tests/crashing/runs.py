"""One run: an installation, what is asked of it, where its services die, and what does not hold afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from crashing.invariants import Broken, asked_again, broken
from crashing.points import Point
from crashing.stack import Ground, Installation, installation
from crashing.workload import Lost, Workload
from receiver import receiving
from remote_claude.runtime.broker.accounts import ADMIN
from remote_claude.runtime.host import connected
from remote_claude.runtime.purpose import Purpose
from remote_claude.runtime.service import Runtime
from remote_claude.runtime.telemetry.logs_and_metrics import Metrics
from servers import settings_for

Task = Callable[[Workload], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one. `seen` are the points of each life in order, `deaths` those of the scenario that were reached."""

    scenario: tuple[Point, ...]
    deaths: tuple[Point, ...]
    seen: tuple[tuple[Point, ...], ...]
    broken: tuple[Broken, ...]


async def run(
    ground: Ground,
    scenario: Sequence[Point] = (),
    *,
    mutant: str | None = None,
    work: Task = Workload.run,
    patience_s: float = 120.0,
    **environment: str,
) -> Run:
    """Do the work while the services die as the scenario has it; then wait until nothing moves, and check.

    What does not come to rest in time is a breach of the twelfth invariant. Raises when the services end by themselves.
    """
    async with installation(ground, scenario=scenario, mutant=mutant, environment=environment) as one:
        with receiving() as receiver:
            async with looking(one) as runtime:
                asked = Workload(one, runtime, receiver)
                working = asyncio.ensure_future(_work(asked, work, patience_s))
                await asyncio.wait((working, one.keeping), return_when=asyncio.FIRST_COMPLETED)
                if one.keeping.done():
                    working.cancel()
                    one.keeping.result()
                try:
                    found = await working
                except AssertionError as error:
                    raise AssertionError(f"{error}\n{one.said()}") from error
                await asked.close()
        await one.last()
        return Run(
            tuple(scenario),
            tuple(one.deaths),
            tuple(tuple(one.seen(n)) for n in range(one.lives)),
            tuple(found),
        )


async def _work(asked: Workload, work: Task, patience_s: float) -> list[Broken]:
    try:
        async with asyncio.timeout(patience_s):
            await work(asked)
            await asked.quiet()
    except TimeoutError:
        where = await asked.one.where()
        found = [Broken(12, f"not at rest after {patience_s:g} s: {where}")]
    except Lost as lost:
        found = [Broken(1, str(lost))]
    except AssertionError as error:
        found = [Broken(0, f"an answer that nobody expects: {error}\n{asked.one.said()}")]
    else:
        found = await asked_again(asked)  # the services may die of that too
        await asked.quiet()
    try:
        return found + await broken(asked)
    except AssertionError:  # no answer
        if not found:
            raise
        return found


@asynccontextmanager
async def looking(one: Installation) -> AsyncIterator[Runtime]:
    """The log and the tables of an installation, as an administrator has them."""
    broker = one.ground.broker(ADMIN)
    settings = settings_for(broker, one.dsn, one.home)
    metrics = Metrics("harness")
    try:
        async with connected(settings, {}, metrics, Purpose.LOOK) as runtime:
            yield runtime
    finally:
        metrics.close()
