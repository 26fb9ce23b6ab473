"""A `ComputeProvider` over a vendor that starts, shows, ends and lists machines: `Cloud` is what a vendor adds.

A sandbox is launched under a token that is derived from its name, so that a launch whose answer was lost is not done twice.
What is started carries the runner and the name, so that one that an earlier process left is found again. `timeout` and
`prlimit` run the command: it ends at its deadline also when no runner is there to end it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

import structlog

from remote_claude.runner.providers.base import (
    Capabilities,
    Instance,
    LaunchSpec,
    Measurement,
    ProviderError,
    SandboxExit,
    SandboxFailed,
    SandboxLimits,
    SandboxUnavailable,
    Transport,
    WebSocketAddress,
)
from remote_claude.runner.providers.launches import Launches, finish_start

log = structlog.get_logger(__name__)

WORKER = ("/opt/worker/bin/python", "-I", "-m", "remote_claude.worker")
"""In the worker's image."""
KILLED = 137
_OUTPUT_KEPT = 8 * 1024
_VENDOR_DEADLINE_S = 60
"""How much later than the runner the vendor ends what runs too long."""
_UNSEEN_S = 60.0
"""Lists are eventually consistent: a sandbox that was never in one may be new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a vendor is asked to run."""

    spec: LaunchSpec
    runner: str
    id: str
    """`rc-` and 40 hex digits, the same for each try of one launch: the idempotency token, and a name at the vendor."""
    request: str
    """A hash of all that is asked for. Another one under the same id is another launch."""
    command: tuple[str, ...]
    env: Mapping[str, str]
    deadline_s: int
    """When the vendor ends it, in seconds from its start."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A sandbox of this runner as the vendor shows it. Without an end it runs, or will."""

    name: str
    end: SandboxExit | ProviderError | None = None


class Cloud(Protocol):
    """One vendor's account for one runner. Everything raises `ProviderError`, with a stable code."""

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    poll_s: float
    """Seconds between two looks."""

    async def start(self, launch: Launch) -> str:
        """Ask for it; the vendor's handle. Idempotent under `launch.id`; `SandboxExists` if that is in use otherwise."""
        ...

    async def seen(self) -> Mapping[str, Seen]:
        """What the vendor still knows of this runner, by handle; also what has ended."""
        ...

    async def output(self, handle: str) -> str:
        """The end of what it wrote; empty where that can't be read."""
        ...

    async def remove(self, handle: str) -> None:
        """End it if it runs; nothing of it is left or billed. One that is gone is fine."""
        ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class _Sandbox:
    """Mutable: what the provider knows of one launch."""

    spec: LaunchSpec
    launch: int
    """How many launches of this name there were before."""
    begun: float
    handle: str = ""
    seen: bool = False
    removing: bool = False
    output: str = ""
    why_killed: Literal["killed", "deadline"] | None = None
    outcome: SandboxExit | ProviderError | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    wall_ms: int | None = None

    @property
    def measured(self) -> Measurement:
        wall_ms = self.wall_ms if self.wall_ms is not None else int((time.monotonic() - self.begun) * 1000)
        return Measurement(wall_ms, None, None)


class CloudProvider:
    """The sandboxes of one runner in one cloud."""

    transports: ClassVar[frozenset[type[Transport]]] = frozenset({WebSocketAddress})

    def __init__(self, runner: str, cloud: Cloud) -> None:
        self.name, self.capabilities = cloud.name, cloud.capabilities
        self._runner, self._cloud = runner, cloud
        self._check_name, self._process = f"check-{runner}", secrets.token_hex(8)
        self._launches = Launches[_Sandbox]()
        self._following: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def check(self) -> None:
        spec = LaunchSpec(
            name=self._check_name,
            argv=(WORKER[0], "-I", "-c", "import remote_claude.worker.main"),
            limits=SandboxLimits(vcpu_millis=250, memory_mib=512, duration_s=600),
        )
        try:
            await self.launch(spec)
            end = await self.wait(spec.name)
        except ProviderError as error:
            raise SandboxUnavailable(f"no sandbox can be started by {self.name}: {error}") from error
        if end.code:
            raise SandboxUnavailable(
                f"the worker's sandbox at {self.name} ended with {end.code} ({end.reason}): {end.output}"
            )

    async def recover(self) -> list[str]:
        try:
            left = {
                h: s.name for h, s in (await self._cloud.seen()).items() if s.name not in self._launches.live
            }
        except ProviderError as error:  # `check` says the same, and keeps agents from being offered
            log.error("sandboxes that an earlier runner left can't be looked for", detail=str(error))
            return []
        for handle, name in left.items():
            await self._remove(handle)
            log.info("removed a sandbox that an earlier runner left", sandbox=name)
        return [*left.values()]

    async def launch(self, spec: LaunchSpec) -> Instance:
        before = self._launches.claim(spec.name)
        one = _Sandbox(spec, before.launch + 1 if before is not None else 0, time.monotonic())
        self._launches.live[spec.name] = one
        starting = asyncio.create_task(self._start(one), name=f"sandbox {spec.name}")
        return await finish_start(starting, lambda: self.terminate(spec.name))

    async def wait(self, name: str) -> SandboxExit:
        one = self._launches.find(name)
        await one.ended.wait()
        if isinstance(one.outcome, SandboxExit):
            return one.outcome
        raise one.outcome or SandboxFailed(f"{name} was never started")

    async def measure(self, name: str) -> Measurement:
        return self._launches.find(name).measured

    async def terminate(self, name: str) -> None:
        if (one := self._launches.live.get(name)) is not None:
            await self._kill(one, "killed")
            await one.ended.wait()

    async def list(self) -> list[Instance]:
        found = await self._cloud.seen()
        return [Instance(one.name, handle) for handle, one in found.items() if one.end is None]

    async def close(self) -> None:
        await asyncio.gather(*(self.terminate(name) for name in [*self._launches.live]))
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})
        await self._cloud.close()

    async def _start(self, one: _Sandbox) -> Instance:
        try:
            one.handle = await self._cloud.start(self._launch(one))
        except ProviderError as error:
            one.outcome = error
            self._forget(one)
            raise
        except Exception as error:
            log.exception("a vendor's answer to a launch can't be read", provider=self.name)
            one.outcome = SandboxFailed(
                f"{self.name} gave no usable answer to the launch of {one.spec.name}: {error!r}"
            )
            self._forget(one)
            raise one.outcome from error
        left = one.begun + one.spec.limits.duration_s - time.monotonic()
        asyncio.get_running_loop().call_later(max(left, 0), self._at_deadline, one)
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow(), name=f"sandboxes of {self.name}")
        return Instance(one.spec.name, one.handle)

    def _launch(self, one: _Sandbox) -> Launch:
        spec = one.spec
        if spec.image is not None and not self.capabilities.image:
            raise SandboxFailed(f"{self.name} runs the image of its settings: leave `image` out")
        env = dict(spec.env)
        if isinstance(spec.transport, WebSocketAddress):
            env["RCLAUDE_RUNNER_URL"] = spec.transport.url
        deadline_s = math.ceil(spec.limits.duration_s) + _VENDOR_DEADLINE_S
        guard = ("timeout", "--signal=KILL", str(deadline_s), "prlimit", "--core=0")
        command = (*guard, f"--nproc={spec.limits.processes}", *(spec.argv or WORKER))
        scope = self._process if spec.name == self._check_name else ""
        contents = [command, sorted(env.items()), spec.image, repr(spec.limits)]
        return Launch(
            spec=spec,
            runner=self._runner,
            id=f"rc-{_hash(scope, self._runner, spec.name, str(one.launch))[:40]}",
            request=_hash(json.dumps(contents)),
            command=command,
            env=env,
            deadline_s=deadline_s,
        )

    def _at_deadline(self, one: _Sandbox) -> None:
        if not one.ended.is_set():
            ending = asyncio.create_task(self._kill(one, "deadline"), name=f"deadline of {one.spec.name}")
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def _kill(self, one: _Sandbox, why: Literal["killed", "deadline"]) -> None:
        one.why_killed = one.why_killed or why
        if one.handle and not one.removing:
            one.removing = True
            one.output = await self._output(one.handle)
            await self._remove(one.handle)

    async def _remove(self, handle: str) -> None:
        """A refusal is not the end of it: what has to go is asked for again at the next look, or the next start."""
        try:
            await self._cloud.remove(handle)
        except ProviderError as error:
            log.warning("a sandbox can't be removed", handle=handle, code=error.code, detail=str(error))

    async def _output(self, handle: str) -> str:
        with suppress(ProviderError):
            return (await self._cloud.output(handle)).encode()[-_OUTPUT_KEPT:].decode(errors="replace")
        return ""

    async def _follow(self) -> None:
        """Look at all that run, again and again, while there are any."""
        while following := [one for one in self._launches.live.values() if one.handle]:
            try:
                found = await self._cloud.seen()
                await asyncio.gather(*(self._look_at(one, found.get(one.handle)) for one in following))
            except ProviderError as error:
                log.warning("the sandboxes can't be looked at", code=error.code, detail=str(error))
            except Exception:  # an answer in an unknown form must not end the watch over all the others
                log.exception("what the vendor shows can't be read", provider=self.name)
            await asyncio.sleep(self._cloud.poll_s)

    async def _look_at(self, one: _Sandbox, found: Seen | None) -> None:
        if found is None:
            if not one.seen and one.why_killed is None and time.monotonic() < one.begun + _UNSEEN_S:
                return
            one.outcome = SandboxExit(KILLED, one.why_killed or "killed", one.output)
        elif found.end is None:
            one.seen = True
            if one.why_killed is not None:
                await self._remove(one.handle)
            return
        else:
            one.outcome = await self._outcome(one, found.end)
            await self._remove(one.handle)
        one.wall_ms = one.measured.wall_ms
        self._forget(one)

    async def _outcome(self, one: _Sandbox, end: SandboxExit | ProviderError) -> SandboxExit | ProviderError:
        if isinstance(end, ProviderError):
            return SandboxExit(KILLED, one.why_killed, one.output) if one.why_killed else end
        output = one.output or await self._output(one.handle) or end.output
        if one.why_killed:
            return SandboxExit(end.code or KILLED, one.why_killed, output)
        return SandboxExit(end.code, end.reason, output)

    def _forget(self, one: _Sandbox) -> None:
        self._launches.end(one.spec.name)
        one.ended.set()


def _hash(*texts: str) -> str:
    return hashlib.sha256("/".join(texts).encode()).hexdigest()
