"""Sandboxes as Docker containers: on this machine with no network at all, elsewhere with one that leads to the gateway.

A container runs as an unprivileged user on a read-only image, without capabilities, under Docker's seccomp filter. What it
writes is in memory, in file systems of a fixed size. Its name is derived from the attempt's, so that a second launch under
one name is refused by the engine itself; what an earlier process left is found by label.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import structlog
from aiodocker import Docker
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from aiohttp import ClientError

from remote_claude.runner.providers.base import (
    Capabilities,
    ImageUnusable,
    Instance,
    LaunchSpec,
    Measurement,
    ProviderError,
    SandboxExists,
    SandboxExit,
    SandboxFailed,
    SandboxLimits,
    SandboxUnavailable,
    Transport,
    UnixSocket,
    WebSocketAddress,
)
from remote_claude.runner.providers.launches import Launches, finish_start
from remote_claude.runner.providers.settings import DockerSettings, ProviderSettings

log = structlog.get_logger(__name__)

WORKER = ("/opt/worker/bin/python", "-I", "-m", "remote_claude.worker")
"""In the worker's image."""
SOCKET = "/run/rclaude/runner.sock"
RUNNER, NAME = "io.remote-claude.runner", "io.remote-claude.name"
"""Labels: whose container it is, and the name of its launch."""
USER = 1000
MEASURE_S = 3.0
"""How long the engine may take to say what a container uses: it looks twice, a second apart."""
PULL_S = 600.0
"""How long the pull of an image may take."""
_OUTPUT_KEPT = 8 * 1024
_OUTPUT_LINES = 200
_ASK_AGAIN_S = 0.5


@dataclass(slots=True)
class _Container:
    """Mutable: what the provider knows of one launch."""

    spec: LaunchSpec
    begun: float
    handle: str = ""
    following: asyncio.Task[None] | None = None
    why_killed: Literal["killed", "deadline"] | None = None
    outcome: SandboxExit | ProviderError | None = None
    wall_ms: int | None = None
    cpu_ms: int | None = None
    memory_peak_mib: int | None = None

    def take(self, stats: Sequence[dict[str, Any]]) -> None:
        """What the engine has measured by now: nothing of a container that ends meanwhile."""
        if not stats:
            return
        cpu_ns = stats[0].get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage")
        memory = stats[0].get("memory_stats", {})
        if cpu_ns:
            self.cpu_ms = cpu_ns // 1_000_000
        if used := memory.get("max_usage") or memory.get("usage"):
            self.memory_peak_mib = max(self.memory_peak_mib or 0, used >> 20)

    @property
    def measured(self) -> Measurement:
        wall_ms = self.wall_ms if self.wall_ms is not None else int((time.monotonic() - self.begun) * 1000)
        return Measurement(wall_ms, self.cpu_ms, self.memory_peak_mib)


class DockerProvider:
    """A `ComputeProvider` with the containers of one runner."""

    name: ClassVar[str] = "docker"

    def __init__(self, runner: str, settings: DockerSettings) -> None:
        self._runner, self._settings = runner, settings
        self._client: Docker | None = None
        self._memory_limit = True
        self._launches = Launches[_Container]()

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            egress_policy=self._settings.network == "none",
            memory_limit=self._memory_limit,
            disk_limit=True,
            image=True,
        )

    @property
    def transports(self) -> frozenset[type[Transport]]:
        return frozenset({UnixSocket if self._settings.network == "none" else WebSocketAddress})

    async def check(self) -> None:
        try:
            info = await self._docker.system.info()
            self._memory_limit = bool(info.get("MemoryLimit"))
            await self._docker.images.inspect(self._settings.image)
        except (DockerError, ClientError, OSError, ValueError) as error:
            if isinstance(error, DockerError) and error.status == 404:
                raise SandboxUnavailable(
                    f"the image {self._settings.image} can't be used ({error.message}): build it with "
                    "deploy/images/build.sh worker, or set RCLAUDE_RUNNER_DOCKER_IMAGE"
                ) from error
            raise SandboxUnavailable(
                f"no Docker engine answers ({error}): start it, or set DOCKER_HOST"
            ) from error
        spec = LaunchSpec(
            name=f"check-{self._runner}",
            argv=(WORKER[0], "-I", "-c", "import remote_claude.worker.main"),
            limits=SandboxLimits(vcpu_millis=1000, memory_mib=256, duration_s=60, disk_mib=16),
        )
        try:
            await self.launch(spec)
            end = await self.wait(spec.name)
        except SandboxFailed as error:
            raise SandboxUnavailable(f"no container can be started: {error}") from error
        if end.code:
            raise SandboxUnavailable(
                f"the worker in {self._settings.image} ended with {end.code} ({end.reason}): {end.output}"
            )

    async def recover(self) -> list[str]:
        left = [c for c in await self._containers(all_states=True) if c[1] not in self._launches.live]
        for container, name in left:
            await _remove(container)
            log.info("removed a container that an earlier runner left", sandbox=name)
        return [name for _, name in left]

    async def launch(self, spec: LaunchSpec) -> Instance:
        self._launches.claim(spec.name)
        one = self._launches.live[spec.name] = _Container(spec, time.monotonic())
        starting = asyncio.create_task(self._start(one), name=f"container {spec.name}")
        return await finish_start(starting, lambda: self.terminate(spec.name))

    async def wait(self, name: str) -> SandboxExit:
        one = self._launches.find(name)
        if one.following is not None:
            await asyncio.shield(one.following)
        if isinstance(one.outcome, SandboxExit):
            return one.outcome
        raise one.outcome or SandboxFailed(f"{name} was never started")

    async def measure(self, name: str) -> Measurement:
        one = self._launches.find(name)
        if one.outcome is None and one.handle:
            with suppress(DockerError, ClientError, OSError, TimeoutError):  # what was measured last counts
                async with asyncio.timeout(MEASURE_S):
                    one.take(await self._docker.containers.container(one.handle).stats(stream=False))
        return one.measured

    async def terminate(self, name: str) -> None:
        if (one := self._launches.live.get(name)) is not None and one.following is not None:
            one.why_killed = one.why_killed or "killed"
            await self._kill(one)
            await asyncio.wait({one.following})

    async def list(self) -> list[Instance]:
        return [Instance(name, container.id) for container, name in await self._containers(all_states=False)]

    async def close(self) -> None:
        await asyncio.gather(*(self.terminate(name) for name in [*self._launches.live]))
        if self._client is not None:
            await self._client.close()
            self._client = None

    @property
    def _docker(self) -> Docker:
        if self._client is None:
            self._client = Docker()
        return self._client

    async def _containers(self, *, all_states: bool) -> Sequence[tuple[DockerContainer, str]]:
        """Those of this runner, with the names of their launches."""
        found = await self._docker.containers.list(
            all=all_states, filters={"label": [f"{RUNNER}={self._runner}"]}
        )
        return [(container, container["Labels"][NAME]) for container in found]

    async def _start(self, one: _Container) -> Instance:
        name = one.spec.name
        container: DockerContainer | None = None
        try:
            if one.spec.image is not None:
                await self._have(one.spec.image)
            container = await self._docker.containers.create(self._config(one.spec), name=f"rclaude-{name}")
            one.handle = container.id
            await container.start()
        except (DockerError, ClientError, OSError) as error:
            if container is not None:
                await _remove(container)
            message = error.message if isinstance(error, DockerError) else str(error)
            no_worker = container is not None and one.spec.image is not None and WORKER[0] in message
            in_use = container is None and isinstance(error, DockerError) and error.status == 409
            one.outcome = (
                SandboxExists(f"a container rclaude-{name} still exists: end it first")
                if in_use
                else ImageUnusable(
                    f"the image {one.spec.image} has no worker: build it on {self._settings.image}"
                )
                if no_worker
                else SandboxFailed(f"the container of {name} could not be started: {message}")
            )
            self._launches.end(one.spec.name)
            raise one.outcome from error
        except ImageUnusable as error:
            one.outcome = error
            self._launches.end(one.spec.name)
            raise
        one.following = asyncio.create_task(self._follow(one, container), name=f"container {name}")
        return Instance(name, container.id)

    async def _have(self, image: str) -> None:
        """Pull an image that is not there. Raises `ImageUnusable`."""
        try:
            await self._docker.images.inspect(image)
        except DockerError as error:
            if error.status != 404:
                raise
            try:
                await self._docker.images.pull(image, timeout=PULL_S)
            except (DockerError, TimeoutError) as failed:
                why = failed.message if isinstance(failed, DockerError) else f"it took over {PULL_S:g} s"
                raise ImageUnusable(f"the image {image} can't be pulled: {why}") from failed

    async def _follow(self, one: _Container, container: DockerContainer) -> None:
        """Until it has ended, however; then remove it."""

        def deadline() -> None:
            one.why_killed = one.why_killed or "deadline"
            tasks.add(asyncio.create_task(self._kill(one)))

        tasks: set[asyncio.Task[None]] = set()
        left = one.begun + one.spec.limits.duration_s - time.monotonic()
        timer = asyncio.get_running_loop().call_later(max(left, 0), deadline)
        try:
            one.outcome = await self._ended_as(one, container)
        finally:
            timer.cancel()
            one.wall_ms = one.measured.wall_ms
            await asyncio.gather(*tasks, return_exceptions=True)
            await _remove(container)
            self._launches.end(one.spec.name)

    async def _ended_as(self, one: _Container, container: DockerContainer) -> SandboxExit:
        while True:
            try:
                code = int((await container.wait())["StatusCode"])
                state = (await container.show())["State"]
                lines = await container.log(stdout=True, stderr=True, tail=_OUTPUT_LINES)
            except DockerError as error:
                if error.status == 404:  # it was removed from outside
                    return SandboxExit(137, one.why_killed or "killed")
                await asyncio.sleep(_ASK_AGAIN_S)
            except (ClientError, OSError, TimeoutError):  # the engine is away, or starts again
                await asyncio.sleep(_ASK_AGAIN_S)
            else:
                break
        output = "".join(lines).encode()[-_OUTPUT_KEPT:].decode(errors="replace")
        if one.why_killed == "deadline":
            return SandboxExit(code, "deadline", output)
        if code and state.get("OOMKilled"):
            return SandboxExit(code, "out_of_memory", output)
        if one.why_killed or code == 137:
            return SandboxExit(code, "killed", output)
        return SandboxExit(code, "exited", output)

    async def _kill(self, one: _Container) -> None:
        with suppress(DockerError, ClientError, OSError):  # it has ended meanwhile, or will be asked again
            await self._docker.containers.container(one.handle).kill()

    def _config(self, spec: LaunchSpec) -> dict[str, Any]:
        size, binds = spec.limits.disk_mib << 20, []
        env = {"HOME": "/home/agent", "USER": "agent", "TZ": "UTC", "LANG": "C.UTF-8", **spec.env}
        match spec.transport:
            case UnixSocket(path):
                binds.append(f"{path.absolute()}:{SOCKET}:ro")
                env["RCLAUDE_RUNNER_URL"] = f"unix://{SOCKET}"
            case WebSocketAddress(url):
                env["RCLAUDE_RUNNER_URL"] = url
        command = spec.argv or WORKER
        writable = f"rw,exec,nosuid,nodev,uid={USER},gid={USER}"
        return {
            "Image": spec.image or self._settings.image,
            "Entrypoint": [command[0]],
            "Cmd": [*command[1:]],
            "Env": [f"{key}={value}" for key, value in env.items()],
            "User": f"{USER}:{USER}",
            "WorkingDir": "/workspace",
            "Hostname": "sandbox",
            "Labels": {
                RUNNER: self._runner,
                NAME: spec.name,
                **{f"io.remote-claude.{key}": value for key, value in spec.labels.items()},
            },
            "HostConfig": {
                "NetworkMode": self._settings.network,
                "ReadonlyRootfs": True,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "PidsLimit": spec.limits.processes,
                "Memory": spec.limits.memory_mib << 20,
                "MemorySwap": spec.limits.memory_mib << 20,
                "NanoCpus": spec.limits.vcpu_millis * 1_000_000,
                "OomScoreAdj": 500,
                "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
                "IpcMode": "private",
                "Tmpfs": {
                    "/workspace": f"{writable},size={size // 2},mode=0755",
                    "/home/agent": f"{writable},size={size // 4},mode=0700",
                    "/tmp": f"{writable},size={size // 8},mode=1777",  # noqa: S108  in the container
                },
                "ShmSize": size // 8,
                "Binds": binds,
                "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}},
                **({"Runtime": self._settings.runtime} if self._settings.runtime else {}),
            },
        }


async def _remove(container: DockerContainer) -> None:
    """Gone already is fine; an engine that is away leaves it to the next start."""
    with suppress(DockerError, ClientError, OSError):
        await container.delete(force=True, v=True)


def create(settings: ProviderSettings) -> DockerProvider:
    """For the entry point `docker`."""
    return DockerProvider(settings.runner, DockerSettings.from_environment())
