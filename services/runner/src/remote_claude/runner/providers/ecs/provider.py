"""Sandboxes as tasks of Amazon ECS: each a micro-VM of Fargate, whose worker dials the gateway.

A task is launched under a client token that is derived from its name, so that a launch whose answer was lost is not done
twice. `startedBy` says whose task it is and a tag says its name, so that one that an earlier process left is found again.
The command is run by `timeout` and `prlimit`: a task ends at its deadline also when no runner is there to end it.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import structlog

from remote_claude.runner.providers.base import (
    Capabilities,
    Exit,
    Instance,
    LaunchSpec,
    Limits,
    Measured,
    ProviderError,
    SandboxFailed,
    SandboxUnavailable,
    Transport,
    WebSocketAddress,
)
from remote_claude.runner.providers.ecs import errors
from remote_claude.runner.providers.ecs.client import EcsClient
from remote_claude.runner.providers.ecs.output import last_output
from remote_claude.runner.providers.ecs.settings import EcsSettings
from remote_claude.runner.providers.ecs.sizes import fargate_size
from remote_claude.runner.providers.launches import Launches, finish_start

log = structlog.get_logger(__name__)

WORKER = ("/opt/worker/bin/python", "-I", "-m", "remote_claude.worker")
"""In the worker's image."""
NAME_TAG = "remote-claude:name"
_VENDOR_DEADLINE_S = 60
"""How much later than the runner the task itself ends what runs too long."""
_UNSEEN_S = 60.0
"""DescribeTasks is eventually consistent: a task that it has never shown may be new."""
_KILLED = 137


@dataclass(slots=True)
class _Task:
    """Mutable: what the provider knows of one launch."""

    spec: LaunchSpec
    launch: int
    """How many launches of this name there were before."""
    begun: float
    arn: str = ""
    seen: bool = False
    why_killed: Literal["killed", "deadline"] | None = None
    outcome: Exit | ProviderError | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    wall_ms: int | None = None

    @property
    def measured(self) -> Measured:
        wall_ms = self.wall_ms if self.wall_ms is not None else int((time.monotonic() - self.begun) * 1000)
        return Measured(wall_ms, None, None)


class EcsProvider:
    """A `ComputeProvider` with the tasks of one runner in one cluster."""

    name: ClassVar[str] = "ecs"
    capabilities: ClassVar[Capabilities] = Capabilities(memory_limit=True)
    """Disk is bounded by what the task has, not by what was asked for; egress by the security group, which is not ours."""
    transports: ClassVar[frozenset[type[Transport]]] = frozenset({WebSocketAddress})

    def __init__(self, runner: str, settings: EcsSettings, client: EcsClient | None = None) -> None:
        self._runner, self._settings = runner, settings
        self._client = client or EcsClient(settings)
        self._check_name, self._process = f"check-{runner}", secrets.token_hex(8)
        self._launches = Launches[_Task]()
        self._definition: Any = None
        self._following: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def check(self) -> None:
        spec = LaunchSpec(
            name=self._check_name,
            argv=(WORKER[0], "-I", "-c", "import remote_claude.worker.main"),
            limits=Limits(vcpu_millis=250, memory_mib=512, duration_s=300),
        )
        try:
            await self.launch(spec)
            end = await self.wait(spec.name)
        except ProviderError as error:
            raise SandboxUnavailable(
                f"no task can be started in the cluster {self._settings.cluster}: {error}"
            ) from error
        if end.code:
            raise SandboxUnavailable(f"the worker's task ended with {end.code} ({end.reason}): {end.output}")

    async def recover(self) -> list[str]:
        try:
            left = await self._client.describe(await self._client.started_by(self._runner))
        except (
            ProviderError
        ) as error:  # `check` says the same, where it keeps nothing but the agents from being offered
            log.error("tasks that an earlier runner left can't be looked for", detail=str(error))
            return []
        names = {arn: _name(task) for arn, task in left.items() if _name(task) not in self._launches.live}
        for arn, name in names.items():
            await self._stop(arn, "an earlier runner left it")
            log.info("stopped a task that an earlier runner left", sandbox=name)
        return [*names.values()]

    async def launch(self, spec: LaunchSpec) -> Instance:
        before = self._launches.claim(spec.name)
        one = _Task(spec, before.launch + 1 if before is not None else 0, time.monotonic())
        self._launches.live[spec.name] = one
        starting = asyncio.create_task(self._start(one), name=f"task {spec.name}")
        return await finish_start(starting, lambda: self.terminate(spec.name))

    async def wait(self, name: str) -> Exit:
        one = self._launches.find(name)
        await one.ended.wait()
        if isinstance(one.outcome, Exit):
            return one.outcome
        raise one.outcome or SandboxFailed(f"{name} was never started")

    async def measure(self, name: str) -> Measured:
        return self._launches.find(name).measured

    async def terminate(self, name: str) -> None:
        if (one := self._launches.live.get(name)) is not None:
            await self._kill(one, "killed")
            await one.ended.wait()

    async def list(self) -> list[Instance]:
        found = await self._client.describe(await self._client.started_by(self._runner))
        return [Instance(_name(task), arn) for arn, task in found.items() if task["lastStatus"] != "STOPPED"]

    async def close(self) -> None:
        await asyncio.gather(*(self.terminate(name) for name in [*self._launches.live]))
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})

    async def _start(self, one: _Task) -> Instance:
        what = f"the task of {one.spec.name} could not be started"
        try:
            request = await self._request(one)
            answer = await self._client.call("ecs", "run_task", what, **request)
            if not answer["tasks"]:
                failure: dict[str, str] = next(iter(answer["failures"]), {})
                raise errors.of_failure(
                    failure.get("reason", "no reason given"), failure.get("detail", ""), what
                )
        except ProviderError as error:
            one.outcome = error
            self._end(one)
            raise
        one.arn = answer["tasks"][0]["taskArn"]
        loop = asyncio.get_running_loop()
        left = one.begun + one.spec.limits.duration_s - time.monotonic()
        loop.call_later(max(left, 0), self._at_deadline, one)
        if self._following is None or self._following.done():
            self._following = asyncio.create_task(self._follow(), name="tasks of ECS")
        return Instance(one.spec.name, one.arn)

    def _at_deadline(self, one: _Task) -> None:
        if not one.ended.is_set():
            ending = asyncio.create_task(self._kill(one, "deadline"), name=f"deadline of {one.spec.name}")
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def _kill(self, one: _Task, why: Literal["killed", "deadline"]) -> None:
        one.why_killed = one.why_killed or why
        if one.arn:
            with suppress(ProviderError):  # `_follow` asks again
                await self._stop(one.arn, why)

    async def _stop(self, arn: str, why: str) -> None:
        await self._client.call(
            "ecs",
            "stop_task",
            f"{arn} can't be stopped",
            cluster=self._settings.cluster,
            task=arn,
            reason=why,
        )

    async def _follow(self) -> None:
        """Look at all that run, again and again, while there are any."""
        while following := [one for one in self._launches.live.values() if one.arn]:
            try:
                found = await self._client.describe([one.arn for one in following])
            except ProviderError as error:
                log.warning("the tasks can't be looked at", code=error.code, detail=str(error))
            else:
                await asyncio.gather(*(self._look_at(one, found.get(one.arn)) for one in following))
            await asyncio.sleep(self._settings.poll_s)

    async def _look_at(self, one: _Task, task: Any) -> None:
        if task is None:
            if not one.seen and time.monotonic() < one.begun + _UNSEEN_S:
                return
            one.outcome = Exit(_KILLED, one.why_killed or "killed")
        elif task["lastStatus"] != "STOPPED":
            one.seen = True
            if one.why_killed is not None and task["desiredStatus"] != "STOPPED":
                await self._kill(one, one.why_killed)
            return
        else:
            one.outcome = await self._outcome(one, task)
        one.wall_ms = one.measured.wall_ms
        self._end(one)

    async def _outcome(self, one: _Task, task: Any) -> Exit | ProviderError:
        worker = task["containers"][0]
        reason, code = str(worker.get("reason", "")), worker.get("exitCode")
        if one.why_killed is None and (
            task.get("stopCode") == "TaskFailedToStart" or (code is None and reason)
        ):
            what = f"the task of {one.spec.name} never ran"
            return errors.of_failure(str(task.get("stoppedReason", "")), reason, what)
        output = await last_output(self._client, await self._described(), one.arn)
        if one.why_killed is not None:
            return Exit(code or _KILLED, one.why_killed, output)
        if "OutOfMemory" in reason:
            return Exit(code or _KILLED, "out_of_memory", output)
        if code is None or code == _KILLED or task.get("stopCode") != "EssentialContainerExited":
            return Exit(code or _KILLED, "killed", output or str(task.get("stoppedReason", "")))
        return Exit(code, "exited", output)

    def _end(self, one: _Task) -> None:
        self._launches.end(one.spec.name)
        one.ended.set()

    def _token(self, one: _Task) -> str:
        """64 characters, the same for each try of one launch: AWS holds them for a day."""
        name = one.spec.name
        scope = self._process if name == self._check_name else ""
        return hashlib.sha256(f"{scope}/{name}/{one.launch}".encode()).hexdigest()

    async def _described(self) -> Any:
        if self._definition is None:
            definition = self._settings.task_definition
            answer = await self._client.call(
                "ecs",
                "describe_task_definition",
                f"the task definition {definition} can't be read",
                taskDefinition=definition,
            )
            self._definition = answer["taskDefinition"]
        return self._definition

    async def _request(self, one: _Task) -> dict[str, Any]:
        spec, settings = one.spec, self._settings
        if spec.image is not None:
            raise SandboxFailed("the image of a task is that of its task definition: leave `image` out")
        size = fargate_size(spec.limits)
        if (size.cpu * 1000, size.memory_mib) != (spec.limits.vcpu_millis * 1024, spec.limits.memory_mib):
            log.info(
                "a task is larger than what was asked for",
                sandbox=spec.name,
                vcpu_millis=size.cpu * 1000 // 1024,
                memory_mib=size.memory_mib,
            )
        env = dict(spec.env)
        if isinstance(spec.transport, WebSocketAddress):
            env["RCLAUDE_RUNNER_URL"] = spec.transport.url
        until = math.ceil(spec.limits.duration_s) + _VENDOR_DEADLINE_S
        guard = (
            "timeout",
            "--signal=KILL",
            str(until),
            "prlimit",
            f"--nproc={spec.limits.processes}",
            "--core=0",
        )
        worker = (await self._described())["containerDefinitions"][0]["name"]
        overrides: dict[str, Any] = {
            "cpu": str(size.cpu),
            "memory": str(size.memory_mib),
            "containerOverrides": [
                {
                    "name": worker,
                    "command": [*guard, *(spec.argv or WORKER)],
                    "environment": [{"name": key, "value": value} for key, value in env.items()],
                }
            ],
        }
        if size.disk_gib > 20:
            overrides["ephemeralStorage"] = {"sizeInGiB": size.disk_gib}
        request: dict[str, Any] = {
            "cluster": settings.cluster,
            "taskDefinition": settings.task_definition,
            "count": 1,
            "clientToken": self._token(one),
            "startedBy": self._runner,
            "overrides": overrides,
            "tags": [
                {"key": NAME_TAG, "value": spec.name},
                *({"key": f"remote-claude:{key}", "value": value} for key, value in spec.labels.items()),
            ],
        }
        if settings.capacity == "FARGATE_SPOT":
            request["capacityProviderStrategy"] = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
        else:
            request["launchType"] = settings.capacity
        if settings.subnets:
            request["networkConfiguration"] = {
                "awsvpcConfiguration": {
                    "subnets": _ids(settings.subnets),
                    "securityGroups": _ids(settings.security_groups),
                    "assignPublicIp": "ENABLED" if settings.public_ip else "DISABLED",
                }
            }
        return request


def _name(task: Any) -> str:
    tags = {tag["key"]: tag["value"] for tag in task.get("tags", [])}
    return str(tags.get(NAME_TAG, task["taskArn"]))


def _ids(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
