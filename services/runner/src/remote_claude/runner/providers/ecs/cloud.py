"""Tasks of Amazon ECS: each a micro-VM of Fargate, whose worker dials the gateway.

`startedBy` says whose task it is, and a tag says its name. Source: Amazon ECS API Reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import structlog

from remote_claude.runner.providers.base import Capabilities, ProviderError, SandboxExit
from remote_claude.runner.providers.clouds import Launch, Seen
from remote_claude.runner.providers.clouds.provider import KILLED
from remote_claude.runner.providers.ecs import errors
from remote_claude.runner.providers.ecs.client import EcsClient
from remote_claude.runner.providers.ecs.output import last_output
from remote_claude.runner.providers.ecs.settings import EcsSettings
from remote_claude.runner.providers.ecs.sizes import fargate_size

log = structlog.get_logger(__name__)

NAME_TAG = "remote-claude:name"


class EcsCloud:
    """The tasks of one runner in one cluster."""

    name: ClassVar[str] = "ecs"
    capabilities: ClassVar[Capabilities] = Capabilities(memory_limit=True)
    """Disk is bounded by what the task has, not by what was asked for; egress by the security group, which is not ours."""

    def __init__(self, runner: str, settings: EcsSettings, client: EcsClient | None = None) -> None:
        self._runner, self._settings = runner, settings
        self.poll_s = settings.poll_s
        self._client = client or EcsClient(settings)
        self._definition: Any = None
        self._launched: set[str] = set()
        """Tasks of this process. `ListTasks` leaves out those that are stopping: they are looked at until they have stopped."""
        self._shown: Mapping[str, Any] = {}
        """Each task as it was at the last look."""

    async def start(self, launch: Launch) -> str:
        what = f"the task of {launch.spec.name} could not be started"
        answer = await self._client.call("ecs", "run_task", what, **await self._request(launch))
        if not answer["tasks"]:
            failure: dict[str, str] = next(iter(answer["failures"]), {})
            raise errors.of_failure(failure.get("reason", "no reason given"), failure.get("detail", ""), what)
        arn = str(answer["tasks"][0]["taskArn"])
        self._launched.add(arn)
        return arn

    async def seen(self) -> Mapping[str, Seen]:
        running = await self._client.started_by(self._runner)
        found = await self._client.describe([*{*running, *self._launched}])
        self._launched -= self._shown.keys() - found.keys()
        self._shown = found
        return {
            arn: Seen(_name(task), _end(task) if task["lastStatus"] == "STOPPED" else None)
            for arn, task in found.items()
        }

    async def output(self, handle: str) -> str:
        """It comes with the end."""
        task = self._shown.get(handle)
        if task is None or task["lastStatus"] != "STOPPED":
            return ""
        return await last_output(self._client, await self._described(), handle)

    async def remove(self, handle: str) -> None:
        task = self._shown.get(handle)
        if task is None or task["desiredStatus"] != "STOPPED":
            what, cluster = f"{handle} can't be stopped", self._settings.cluster
            await self._client.call("ecs", "stop_task", what, cluster=cluster, task=handle, reason="removed")
        elif task["lastStatus"] == "STOPPED":
            self._launched.discard(handle)

    async def close(self) -> None:
        return

    async def _described(self) -> Any:
        if self._definition is None:
            definition = self._settings.task_definition
            what = f"the task definition {definition} can't be read"
            answer = await self._client.call(
                "ecs", "describe_task_definition", what, taskDefinition=definition
            )
            self._definition = answer["taskDefinition"]
        return self._definition

    async def _request(self, launch: Launch) -> dict[str, Any]:
        spec, settings = launch.spec, self._settings
        size = fargate_size(spec.limits)
        if (size.cpu * 1000, size.memory_mib) != (spec.limits.vcpu_millis * 1024, spec.limits.memory_mib):
            log.info(
                "a task is larger than what was asked for",
                sandbox=spec.name,
                vcpu_millis=size.cpu * 1000 // 1024,
                memory_mib=size.memory_mib,
            )
        overrides: dict[str, Any] = {
            "cpu": str(size.cpu),
            "memory": str(size.memory_mib),
            "containerOverrides": [
                {
                    "name": (await self._described())["containerDefinitions"][0]["name"],
                    "command": [*launch.command],
                    "environment": [{"name": key, "value": value} for key, value in launch.env.items()],
                }
            ],
        }
        if size.disk_gib > 20:
            overrides["ephemeralStorage"] = {"sizeInGiB": size.disk_gib}
        labels = {f"remote-claude:{key}": value for key, value in spec.labels.items()}
        request: dict[str, Any] = {
            "cluster": settings.cluster,
            "taskDefinition": settings.task_definition,
            "count": 1,
            "clientToken": launch.id,
            "startedBy": launch.runner,
            "overrides": overrides,
            "tags": [{"key": key, "value": value} for key, value in {**labels, NAME_TAG: spec.name}.items()],
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


def _end(task: Any) -> SandboxExit | ProviderError:
    """How a task that has stopped ended."""
    worker, stopped = task["containers"][0], str(task.get("stoppedReason", ""))
    reason, code = str(worker.get("reason", "")), worker.get("exitCode")
    if "OutOfMemory" in reason:
        return SandboxExit(code or KILLED, "out_of_memory")
    if task.get("stopCode") == "TaskFailedToStart" or (code is None and reason):
        return errors.of_failure(stopped, reason, f"the task of {_name(task)} never ran")
    if code is None or code == KILLED or task.get("stopCode") != "EssentialContainerExited":
        return SandboxExit(code or KILLED, "killed", stopped)
    return SandboxExit(code, "exited")


def _name(task: Any) -> str:
    tags = {tag["key"]: tag["value"] for tag in task.get("tags", [])}
    return str(tags.get(NAME_TAG, task["taskArn"]))


def _ids(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
