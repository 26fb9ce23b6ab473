"""How long a runner may go on, and its workers: in virtual time."""

import asyncio
from random import Random

from remote_claude.contracts.leases import HeldAttempt
from remote_claude.runner.leases.lease import Lease
from simulator.loop import run

SCHEDULER_WAITS = 15 + 5


def test_a_runner_that_is_renewed_passes_on_a_whole_lease() -> None:
    async def main() -> float:
        lease = Lease(15)
        await asyncio.sleep(lease.interval)
        return lease.to_pass_on

    assert run(main, Random(1)) == 15


def test_a_worker_never_goes_on_for_longer_than_the_scheduler_waits() -> None:
    """However late its runner passes on a lease, and is suspended then."""

    async def main() -> list[float]:
        lease, ends = Lease(15), []
        loop = asyncio.get_running_loop()
        for _ in range(40):
            await asyncio.sleep(1)
            if (seconds := lease.to_pass_on) > 0:
                ends.append(loop.time() + seconds)
        return ends

    assert max(run(main, Random(1))) < SCHEDULER_WAITS


def test_a_lease_counts_from_when_its_renewal_was_asked_for() -> None:
    async def main() -> tuple[float, float]:
        lease = Lease(15)
        loop = asyncio.get_running_loop()
        asked = loop.time()
        await asyncio.sleep(2)
        lease.renew(asked)
        before = lease.left
        await asyncio.sleep(14)
        return before, lease.left

    assert run(main, Random(1)) == (13, -1)


def test_a_lease_covers_what_its_renewal_named_until_it_is_over() -> None:
    mine, other = (HeldAttempt(org="org_1", task="task_1", attempt=n) for n in (1, 2))

    async def main() -> list[tuple[bool, bool]]:
        lease, covered = Lease(15), []
        loop = asyncio.get_running_loop()
        for named, seconds in (((), 0), ((mine,), 14), (None, 2), ((mine, other), 0), ((), 0)):
            if named is not None:
                lease.renew(loop.time(), named)
            await asyncio.sleep(seconds)
            covered.append((lease.covers(mine), lease.covers(other)))
        return covered

    expected = [(False, False), (True, False), (False, False), (True, True), (False, False)]
    assert run(main, Random(1)) == expected


def test_one_that_waits_for_its_lease_is_not_let_through_by_a_renewal_that_it_slept_through() -> None:
    mine = HeldAttempt(org="org_1", task="task_1", attempt=1)

    async def main() -> float:
        lease, never = Lease(15), asyncio.Event()
        loop = asyncio.get_running_loop()
        waiting = asyncio.create_task(lease.cover(mine, unless=never))
        await asyncio.sleep(20)
        lease.renew(0.0, (mine,))  # sent before the sleep, answered after it
        await asyncio.sleep(5)
        assert not waiting.done()
        lease.renew(loop.time(), (mine,))
        await waiting
        return loop.time()

    assert run(main, Random(1)) == 25
