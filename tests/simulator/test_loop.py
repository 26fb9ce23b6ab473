"""Virtual time, and no way out of it."""

import asyncio
from contextvars import Context
from random import Random

import pytest

from simulator.loop import Life, NothingLeft, OutsideWorld, VirtualLoop, life, run


def test_a_year_passes_at_once() -> None:
    async def main() -> float:
        await asyncio.sleep(365 * 86400)
        return asyncio.get_running_loop().time()

    assert run(main, Random(1)) == 365 * 86400


def test_the_order_follows_from_the_seed() -> None:
    def order(seed: int) -> list[int]:
        seen: list[int] = []

        async def one(n: int) -> None:
            await asyncio.sleep(1)
            seen.append(n)

        async def main() -> None:
            await asyncio.gather(*(one(n) for n in range(20)))

        run(main, Random(seed))
        return seen

    assert order(1) == order(1) != order(2)


def test_waiting_for_nothing_is_an_error() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(NothingLeft):
        run(main, Random(1))


async def _connect() -> None:
    await asyncio.open_connection("127.0.0.1", 9)


async def _thread() -> None:
    await asyncio.to_thread(print)


async def _process() -> None:
    await asyncio.create_subprocess_exec("true")


@pytest.mark.parametrize("way", [_connect, _thread, _process])
def test_there_is_no_way_out(way: object) -> None:
    with pytest.raises(OutsideWorld):
        run(way, Random(1))  # type: ignore[arg-type]


def test_a_sleeping_process_runs_when_it_wakes() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        sleeper, context, ran = Life("sleeper"), Context(), []
        context.run(life.set, sleeper)

        async def work() -> None:
            await asyncio.sleep(1)
            ran.append(loop.time())

        working = loop.create_task(work(), context=context)
        sleeper.asleep = True
        await asyncio.sleep(10)
        assert ran == []
        loop.wake(sleeper)
        await working
        return ran

    assert run(main, Random(1)) == [11.0]
