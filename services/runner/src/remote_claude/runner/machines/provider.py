"""A `ComputeProvider` whose sandboxes are on a machine that has joined."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import asdict
from typing import Any, ClassVar

from remote_claude.runner.machines.protocol import (
    MachineAnswer,
    MachineCall,
    MachineHello,
    MachineLaunch,
    Operation,
)
from remote_claude.runner.providers.base import (
    Capabilities,
    Instance,
    LaunchSpec,
    Measurement,
    ProviderError,
    SandboxExists,
    SandboxExit,
    SandboxFailed,
    SandboxUnavailable,
    SandboxUnknown,
    Transport,
    WebSocketAddress,
)
from remote_claude.runner.sessions.channel import Channel, ChannelClosed

ERRORS: dict[str, type[ProviderError]] = {
    error.code: error for error in (SandboxFailed, SandboxExists, SandboxUnknown, SandboxUnavailable)
}


class MachineProvider:
    """Calls the machine over whichever connection it has at the time."""

    name: ClassVar[str] = "machine"
    transports: ClassVar[frozenset[type[Transport]]] = frozenset({WebSocketAddress})

    def __init__(self, hello: MachineHello) -> None:
        self.capabilities = Capabilities(
            egress_policy=hello.egress_policy, memory_limit=hello.memory_limit, disk_limit=hello.disk_limit
        )
        self._channel: Channel | None = None
        self._gone = False
        self._numbers = itertools.count(1)
        self._calls: dict[int, tuple[MachineCall, asyncio.Future[Any]]] = {}

    async def connect(self, channel: Channel) -> None:
        """Use this connection from now on; what has no answer yet is asked again."""
        self._channel = channel
        for call, _ in list(self._calls.values()):
            await self._send(call)

    def disconnect(self, channel: Channel) -> None:
        """The connection is lost. Calls wait for the next one."""
        if self._channel is channel:
            self._channel = None

    @property
    def is_connected(self) -> bool:
        """Whether the machine can be reached now."""
        return self._channel is not None

    def leave(self) -> None:
        """The machine does not come back: nothing of it runs for this service any more."""
        self._gone = True
        for call, answer in list(self._calls.values()):
            if not answer.done():
                answer.set_exception(SandboxFailed(f"{call.name or call.operation}: the machine is gone"))

    def take(self, answer: MachineAnswer) -> None:
        """An answer of the machine. One that nobody waits for is passed over."""
        _, waiting = self._calls.get(answer.number, (None, None))
        if waiting is None or waiting.done():
            return
        if answer.code is None:
            waiting.set_result(answer.result)
        else:
            waiting.set_exception(ERRORS.get(answer.code, SandboxFailed)(answer.detail))

    async def check(self) -> None:
        await self._call("check")

    async def recover(self) -> list[str]:
        return [str(name) for name in await self._call("recover")]

    async def launch(self, spec: LaunchSpec) -> Instance:
        launch = MachineLaunch(
            limits={key: float(value) for key, value in asdict(spec.limits).items()},
            env=dict(spec.env),
            labels=dict(spec.labels),
        )
        return Instance(spec.name, str(await self._call("launch", spec.name, launch)))

    async def wait(self, name: str) -> SandboxExit:
        found: SandboxExit = _built(SandboxExit, await self._call("wait", name))
        return found

    async def measure(self, name: str) -> Measurement:
        found: Measurement = _built(Measurement, await self._call("measure", name))
        return found

    async def terminate(self, name: str) -> None:
        if not self._gone:
            try:
                await self._call("terminate", name)
            except SandboxFailed:
                return  # its lease ends it

    async def list(self) -> list[Instance]:
        return [_built(Instance, one) for one in await self._call("list")]

    async def close(self) -> None:
        self.leave()

    async def _call(self, operation: Operation, name: str = "", launch: MachineLaunch | None = None) -> Any:
        if self._gone:
            raise SandboxFailed(f"{name or operation}: the machine is gone")
        call = MachineCall(number=next(self._numbers), operation=operation, name=name, launch=launch)
        answer = asyncio.get_running_loop().create_future()
        self._calls[call.number] = call, answer
        try:
            await self._send(call)
            return await answer
        finally:
            del self._calls[call.number]

    async def _send(self, call: MachineCall) -> None:
        if (channel := self._channel) is not None:
            try:
                await channel.send(call.model_dump_json())
            except ChannelClosed:
                self.disconnect(channel)


def _built(type_: Any, values: Any) -> Any:
    """A machine's answer as its type. Raises `SandboxFailed` for anything else."""
    try:
        return type_(**values)
    except TypeError as error:
        raise SandboxFailed(f"the machine's answer can't be read: {error}") from error
