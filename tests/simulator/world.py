"""One seed: all processes and customers on one loop, a time in which everything goes wrong, and one in which nothing does."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import structlog

from remote_claude.contracts import REGISTRY
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.memory import InMemoryEventLog
from simulator import checks, loop
from simulator.customers import Customer, Places
from simulator.network import Broker, Faults, Trap
from simulator.processes import Machine
from simulator.sandboxes import Sandboxes
from simulator.services import (
    LEASE_S,
    Auth,
    Billing,
    Gateway,
    Lock,
    RunnerProcess,
    SchedulerProcess,
    SnapshotsInMemory,
    Users,
)

DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
FAULTY_S = 60.0
"""How long things go wrong."""
HEALS_WITHIN_S = 2.0 * LEASE_S
"""After that long without faults every task is terminal, queued, or running under a live lease."""
ENDS_WITHIN_S = 400.0
"""After that much longer every task has ended."""


@dataclass(slots=True)
class Outcome:
    """What became of a seed."""

    seed: int
    broken: list[str]
    events: list[RecordedEvent]
    trace: list[str]
    seconds: float
    """Virtual ones."""
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def log(self) -> bytes:
        """The log, one event a line."""
        return b"".join(
            f"{e.position} {e.stream} {e.type} {e.event_id} {e.occurred_at} {e.subject} {e.cause} ".encode()
            + e.data
            + b"\n"
            for e in self.events
        )

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.log).hexdigest()


Storage = Callable[[], InMemoryEventLog]


def simulate(seed: int, storage: Storage | None = None) -> Outcome:
    """Run one seed. The same seed gives the same log, byte for byte."""
    before = structlog.get_config()
    world = World(seed, storage)
    structlog.configure(processors=[world.log_line], cache_logger_on_first_use=False)
    try:
        return loop.run(world.run, Random(f"{seed}/order"), world.untaken)
    finally:
        structlog.configure(**before)


class World:
    """Everything there is in one seed."""

    def __init__(self, seed: int, storage: Storage | None) -> None:
        self.seed = seed
        self.random = Random(f"{seed}/world")
        self.trace: list[str] = []
        self.broken: list[str] = []
        self.recorded_at: dict[int, float] = {}
        """Position to virtual time."""
        self._storage = storage or (lambda: InMemoryEventLog(REGISTRY))
        self._faults = 0

    def rng(self, name: str) -> Random:
        return Random(f"{self.seed}/{name}")

    # What is seen of it.

    def note(self, what: str, **details: Any) -> None:
        now = asyncio.get_running_loop().time()
        if (recorded := details.pop("recorded", None)) is not None:
            data = recorded.data.decode()
            self.recorded_at[recorded.position] = now
            self.trace.append(f"{now:9.3f}  #{recorded.position} {recorded.type} {recorded.stream} {data}")
            return
        said = " ".join(f"{name}={value}" for name, value in details.items())
        self.trace.append(f"{now:9.3f}  {what} {said}")

    def log_line(self, _: Any, level: str, line: MutableMapping[str, Any]) -> Any:
        owner = loop.life.get(None)
        said = " ".join(
            f"{name}={value!r}" for name, value in line.items() if name not in ("event", "exc_info")
        )
        error = line.get("exc_info")
        if isinstance(error, BaseException):
            said += f" {error!r}"
        now = asyncio.get_running_loop().time()
        self.trace.append(f"{now:9.3f}  [{owner.name if owner else '-'}] {level}: {line.get('event')} {said}")
        raise structlog.DropEvent

    def untaken(self, problem: dict[str, Any]) -> None:
        """An exception that nobody took."""
        if (task := problem.get("future")) is None or not task.cancelled():
            self.trace.append(f"           nobody took {problem.get('exception')!r}")

    # What happens in it.

    async def run(self) -> Outcome:
        """From the first process to the last check."""
        self._make()
        try:
            return await self._run()
        finally:
            for machine in self.machines:
                machine.restarts = False
                machine.crash()
            for machine in self.machines:
                await machine.buried()

    async def _run(self) -> Outcome:
        for machine in self.machines:
            machine.start()
        living = [asyncio.create_task(customer.live_on()) for customer in self.customers]
        weather = asyncio.create_task(self._weather())
        await asyncio.sleep(FAULTY_S)
        weather.cancel()
        for task in living:
            task.cancel()
        for outcome in await asyncio.gather(*living, weather, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                raise outcome
        await self._heal()
        await asyncio.sleep(HEALS_WITHIN_S)
        checks.settled(self)
        await self._end()
        checks.at_the_end(self)
        for customer in self.customers:
            self.broken += customer.broken
        self.broken += self.sandboxes.broken
        self.note("ends")
        return Outcome(
            self.seed,
            self.broken,
            list(self.broker.log._events),
            self.trace,
            asyncio.get_running_loop().time(),
            {"faults": self._faults, "sandboxes": len(self.sandboxes.all)},
        )

    def _make(self) -> None:
        random = self.random
        bad = random.choice((0.0, 0.02, 0.1, 0.25))
        self.broker = Broker(
            REGISTRY,
            self.rng("network"),
            faults=Faults(
                lost=bad,
                twice=random.choice((0.0, 0.05, 0.2)),
                late=random.choice((0.0, 0.02, 0.15)),
                latency=random.choice((0.002, 0.05)),
                lateness=random.choice((0.5, 3.0, 8.0)),
            ),
            note=self.note,
            heartbeat=5.0,
            log=self._storage(),
        )
        self.broker.patience.tries = random.choice((1, 3, 10, 30))
        self.sandboxes = Sandboxes(self.rng("sandboxes"), self.note)
        begins = DECEMBER - timedelta(seconds=random.uniform(10.0, FAULTY_S))
        lock, snapshots = Lock(random.choice((2.0, 5.0, 60.0))), SnapshotsInMemory()
        self.lock = lock

        def machine(name: str, build: Callable[[Machine], Any]) -> Machine:
            return Machine(name, self.broker, self.rng(name), begins, self.note, build)

        self.gateways = [machine(f"gateway-{n}", Gateway) for n in range(2)]
        self.schedulers = [
            machine(f"scheduler-{n}", lambda m: SchedulerProcess(m, lock, snapshots)) for n in range(2)
        ]
        slots = [random.randint(1, 3) for _ in range(random.randint(2, 3))]
        self.runners = [
            machine(f"runner_{n}", lambda m, slots=s: RunnerProcess(m, self.sandboxes, slots))  # type: ignore[misc]
            for n, s in enumerate(slots)
        ]
        self.billing = [machine(f"billing-{n}", Billing) for n in range(2)]
        self.users, self.auth = machine("users", Users), machine("auth", Auth)
        self.machines = [
            *self.gateways, *self.schedulers, *self.runners, *self.billing, self.users, self.auth,
        ]  # fmt: skip
        places = Places(self.gateways, self.billing, self.users, self.auth)
        self.customers = [
            Customer(n, self.rng(f"customer {n}"), places, self.note) for n in range(random.randint(2, 3))
        ]
        for customer in self.customers:
            customer.neighbours = self.customers

    async def _weather(self) -> None:
        """Something goes wrong every few seconds; how many, and of which kinds, follows from the seed."""
        random = self.rng("weather")
        kinds = {
            self._crash: 4, self._trap: 4, self._nap: 3, self._cut_off: 3, self._outage: 1, self._coup: 2,
            self._stop: 1, self._swoon: 2,
        }  # fmt: skip
        usual = random.sample(list(kinds), random.randint(1, len(kinds)))
        every = random.choice((3.0, 8.0, 20.0))
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(random.expovariate(1 / every))
                [fault] = random.choices(usual, [kinds[kind] for kind in usual])
                self._faults += 1
                group.create_task(fault(random))

    async def _crash(self, random: Random) -> None:
        machine = random.choice(self.machines)
        machine.crash()
        await asyncio.sleep(random.choice((0.1, 5.0, 25.0)) * random.random())
        machine.start()

    async def _trap(self, random: Random) -> None:
        """The process dies in the middle of a request: as it leaves, as it has been done, or as it is answered."""
        machine = random.choice(self.machines)
        gone = asyncio.Event()

        def spring() -> None:
            self.note("a trap springs", process=machine.name)
            machine.crash()
            gone.set()

        self.broker.traps[machine.name] = Trap(random.randint(1, 30), spring)
        await gone.wait()
        await asyncio.sleep(random.choice((0.1, 5.0, 25.0)) * random.random())
        machine.start()

    async def _nap(self, random: Random) -> None:
        """The process is not given the processor; PostgreSQL gives up on its connection after a while."""
        machine, seconds = random.choice(self.machines), random.choice((2.0, 12.0, 40.0)) * random.random()
        sleeper = machine.life
        machine.sleep()
        if machine in self.schedulers and seconds > 11:
            await asyncio.sleep(11)
            if machine.life is sleeper and self.leads(machine):
                self.lock.cut()
            seconds -= 11
        await asyncio.sleep(seconds)
        machine.wake()

    async def _cut_off(self, random: Random) -> None:
        """The process can't reach the broker."""
        machine = random.choice(self.machines)
        self.note("is cut off", process=machine.name)
        self.broker.cut_off.add(machine.name)
        await asyncio.sleep(random.choice((1.0, 8.0, 40.0)) * random.random())
        self.note("is back", process=machine.name)
        self.broker.cut_off.discard(machine.name)

    async def _swoon(self, random: Random) -> None:
        """A runner is cut off, and falls asleep before it has stopped what it runs."""
        machine = random.choice(self.runners)
        self.note("is cut off", process=machine.name)
        self.broker.cut_off.add(machine.name)
        await asyncio.sleep(random.uniform(0.0, 1.2 * LEASE_S))
        machine.sleep()
        await asyncio.sleep(random.uniform(0.0, 2.0 * LEASE_S))
        self.broker.cut_off.discard(machine.name)
        machine.wake()

    async def _outage(self, random: Random) -> None:
        """Nobody can reach the broker: its leader is gone."""
        self.note("the broker is away")
        self.broker.up = False
        await asyncio.sleep(random.choice((2.0, 20.0)) * random.random())
        self.note("the broker is back")
        self.broker.up = True

    async def _coup(self, random: Random) -> None:
        """The leader has lost its lock, and does not know."""
        self.note("the lock is lost")
        self.lock.cut()

    async def _stop(self, random: Random) -> None:
        """The process is stopped as an operator stops it, and started again."""
        machine = random.choice(self.machines)
        self.note("is asked to end", process=machine.name)
        await machine.stop()
        await asyncio.sleep(random.choice((0.1, 10.0)) * random.random())
        machine.start()

    def leads(self, machine: Machine) -> bool:
        process = machine.inside
        return process is not None and process.scheduler.leader is not None

    async def _heal(self) -> None:
        self.note("everything heals")
        self.broker.traps.clear()
        self.broker.heal()
        for machine in self.machines:
            machine.wake()
            machine.start()

    async def _end(self) -> None:
        """Everybody gets a larger plan, so that what waits can run."""
        for customer in self.customers:

            def enlarge(b: Any, org: str = customer.org) -> Any:
                return b.accounts.set_plan(org, "pro")

            await self.billing[0].call(enlarge)
        for _ in range(int(ENDS_WITHIN_S / 5)):
            if not checks.live(self):
                break
            await asyncio.sleep(5.0)
        await asyncio.sleep(2.0 * LEASE_S)  # stale runners have had time to speak
