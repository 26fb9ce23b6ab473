"""The machines that have joined, each with a runner of its own that takes tasks of one organisation only."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from pydantic import TypeAdapter, ValidationError

from remote_claude.concurrency.tasks import end
from remote_claude.contracts.leases import HeldAttempt
from remote_claude.runner.machines.protocol import Drain, MachineAnswer, MachineHello, Welcome
from remote_claude.runner.machines.provider import MachineProvider
from remote_claude.runner.sessions import Channel, ChannelClosed, WorkerListener, WorkerSession

log = structlog.get_logger(__name__)

HELLO_S = 10.0
BACK_WITHIN_S = 15.0
"""How long a machine may be away before its runner ends and its attempts go elsewhere."""
MALFORMED, SUPERSEDED, DRAINED = 4400, 4409, 1000
_MESSAGES: TypeAdapter[MachineAnswer | Drain] = TypeAdapter(MachineAnswer | Drain)


class RunnerAttempts(Protocol):
    """The attempts of one runner."""

    runner: str

    @property
    def held(self) -> tuple[HeldAttempt, ...]:
        """Those that run."""

    async def drain(self) -> None:
        """Take no more; returns once those that run have ended."""


class TaskRunner(Protocol):
    """What takes tasks and sees them to their ends, with the sandboxes of one machine."""

    listener: WorkerListener

    @property
    def executor(self) -> RunnerAttempts:
        """What it runs."""

    async def run(self) -> None:
        """Take work, until cancelled."""

    async def keep_leases(self) -> None:
        """Renew the leases of what runs, until cancelled."""

    async def close(self) -> None:
        """Give back what runs."""

    def session_of(self, org: str, task: str) -> WorkerSession | None:
        """The session with the worker of a task that runs here."""

    def status(self) -> Mapping[str, Any]:
        """What runs here, and what could."""


Create = Callable[[str, MachineHello, MachineProvider], TaskRunner]
"""From an organisation, what its machine offers, and the provider, to a runner."""


@dataclass(slots=True)
class Machine:
    """Mutable: one that has joined."""

    org: str
    hello: MachineHello
    provider: MachineProvider
    runner: TaskRunner
    work: list[asyncio.Task[None]] = field(default_factory=list)
    channel: Channel | None = None
    leaving: asyncio.TimerHandle | None = None
    draining: asyncio.Task[None] | None = None

    def describe(self) -> dict[str, Any]:
        """For people of its organisation."""
        state = "away" if self.channel is None else "draining" if self.draining is not None else "joined"
        return {
            "name": self.hello.name,
            "runner": self.runner.executor.runner,
            "state": state,
            "release": self.hello.release,
            "slots": self.hello.slots,
            "agents": list(self.hello.agents),
            "labels": self.hello.labels,
            "tasks": sorted(held.task for held in self.runner.executor.held),
        }


class Machines:
    """All of this process. `create` makes a runner; `serve` takes a connection from its first message to its end."""

    def __init__(self, create: Create) -> None:
        self._create = create
        self._machines: dict[tuple[str, str], Machine] = {}
        self._service = secrets.token_hex(8)
        self._ending: set[asyncio.Task[None]] = set()

    def runners(self) -> Iterator[TaskRunner]:
        """The runners of all machines."""
        return (machine.runner for machine in self._machines.values())

    def of(self, org: str) -> list[dict[str, Any]]:
        """The machines of one organisation, by name."""
        found = [machine for (owner, _), machine in self._machines.items() if owner == org]
        return [machine.describe() for machine in sorted(found, key=lambda machine: machine.hello.name)]

    async def serve(self, channel: Channel, org: str, workers: str) -> None:
        """One connection of a machine of this organisation. `workers` is the path below which workers connect."""
        machine = None
        try:
            async with asyncio.timeout(HELLO_S):
                hello = MachineHello.model_validate_json(await channel.receive())
            machine = await self._attach(channel, org, hello)
            id = machine.runner.executor.runner
            welcome = Welcome(runner=id, path=f"{workers}/{id}", service=self._service)
            await channel.send(welcome.model_dump_json())
            await machine.provider.connect(channel)
            if not machine.work:
                machine.work += [
                    asyncio.create_task(work()) for work in (machine.runner.run, machine.runner.keep_leases)
                ]
                machine.work[0].add_done_callback(_report)
            while True:
                match _MESSAGES.validate_json(await channel.receive()):
                    case MachineAnswer() as answer:
                        machine.provider.take(answer)
                    case Drain() if machine.draining is None:
                        machine.draining = asyncio.create_task(self._drain(machine))
        except ChannelClosed:
            pass
        except TimeoutError:
            await channel.close(MALFORMED, f"no hello within {HELLO_S:g} s")
        except ValidationError as error:
            await channel.close(MALFORMED, f"a message can't be read: {error.error_count()} errors")
        finally:
            if machine is not None:
                self._detach(machine, channel)

    async def close(self) -> None:
        """The service ends: what runs goes on elsewhere."""
        for machine in list(self._machines.values()):
            self._end(machine)
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _attach(self, channel: Channel, org: str, hello: MachineHello) -> Machine:
        machine = self._machines.get((org, hello.name))
        if machine is None:
            provider = MachineProvider(hello)
            machine = Machine(org, hello, provider, self._create(org, hello, provider))
            self._machines[org, hello.name] = machine
        elif machine.channel is not None:
            await machine.channel.close(SUPERSEDED, "the machine has connected again")
        if machine.leaving is not None:
            machine.leaving.cancel()
        machine.channel, machine.leaving = channel, None
        return machine

    def _detach(self, machine: Machine, channel: Channel) -> None:
        machine.provider.disconnect(channel)
        if machine.channel is not channel:
            return  # it is back already, on another connection
        machine.channel = None
        loop = asyncio.get_running_loop()
        away = 0 if machine.draining is not None else BACK_WITHIN_S
        machine.leaving = loop.call_later(away, self._end, machine)

    async def _drain(self, machine: Machine) -> None:
        """Take no more work, and let the machine go once nothing runs there."""
        await machine.runner.executor.drain()
        if machine.channel is not None:
            await machine.channel.close(DRAINED, "drained")

    def _end(self, machine: Machine) -> None:
        if self._machines.get((machine.org, machine.hello.name)) is machine:
            del self._machines[machine.org, machine.hello.name]
        ending = asyncio.create_task(_ended(machine))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


async def _ended(machine: Machine) -> None:
    machine.provider.leave()
    await machine.runner.close()
    for work in (*machine.work, *([machine.draining] if machine.draining else [])):
        await end(work)
    log.info("a machine has left", machine=machine.hello.name, org=machine.org)


def _report(work: asyncio.Task[None]) -> None:
    if not work.cancelled() and (error := work.exception()) is not None:
        log.error("the runner of a machine ended", exc_info=error)
