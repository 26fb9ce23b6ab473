"""Container groups of Azure: one container each, never restarted, deleted after its end.

A PUT under the name of a group that exists would change that group, so it is looked for first. All variables are secure values,
which Azure never shows again. Source: Azure REST API, Container Instances 2023-05-01.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, ClassVar, Protocol

import httpx2
import structlog

from remote_claude.runner.providers.base import (
    Capabilities,
    CapacityMissing,
    ImageUnusable,
    ProviderError,
    QuotaReached,
    SandboxExists,
    SandboxExit,
    SandboxFailed,
)
from remote_claude.runner.providers.clouds import Launch, Rest, Seen
from remote_claude.runner.providers.clouds.provider import KILLED
from remote_claude.runner.providers.container_instances.credentials import SIGN_IN, AzureCredentials
from remote_claude.runner.providers.container_instances.settings import ContainerInstancesSettings
from remote_claude.runner.providers.container_instances.sizes import container_size

log = structlog.get_logger(__name__)

API_VERSION = "2023-05-01"
RUNNER, NAME, REQUEST = "remote-claude-runner", "remote-claude-name", "remote-claude-request"
"""Tags."""
_LINES = "200"


class AzureAuthorization(Protocol):
    """Who calls."""

    def headers(self) -> Awaitable[Mapping[str, str]]: ...


class ContainerInstancesCloud:
    """One resource group."""

    name: ClassVar[str] = "container_instances"
    capabilities: ClassVar[Capabilities] = Capabilities(memory_limit=True, image=True)
    """Disks have a size that Azure chooses; the network is what the settings name."""

    def __init__(
        self,
        runner: str,
        settings: ContainerInstancesSettings,
        credentials: AzureAuthorization | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._runner, self._settings = runner, settings
        self.poll_s = settings.poll_s
        base = (
            f"{settings.api}/subscriptions/{settings.subscription}/resourceGroups/{settings.resource_group}"
            "/providers/Microsoft.ContainerInstance"
        )
        headers = (credentials or AzureCredentials()).headers
        self._rest = Rest("Azure", base, headers, _refusal, sign_in=SIGN_IN, transport=transport)

    async def start(self, launch: Launch) -> str:
        what = f"the container group of {launch.spec.name} can't be created"
        group = self.group(launch)
        found = await self._call("GET", f"/{launch.id}", what, missing=True)
        if found is None:
            await self._call("PUT", f"/{launch.id}", what, json=group)
        elif found.get("tags", {}).get(REQUEST) != launch.request:
            raise SandboxExists(f"{what}: another process has launched under this name")
        return launch.id

    async def seen(self) -> Mapping[str, Seen]:
        """A list has no states: each group of this runner is looked at by itself."""
        listed: list[Any] = []
        page: dict[str, str] = {}
        while True:
            answer = await self._call("GET", "", "the container groups can't be listed", params=page)
            listed += answer["value"]
            if not (following := answer.get("nextLink")):
                break
            page = dict(httpx2.URL(following).params)
        ours = [group["name"] for group in listed if group.get("tags", {}).get(RUNNER) == self._runner]
        groups = await asyncio.gather(
            *(self._call("GET", f"/{name}", f"{name} can't be looked at", missing=True) for name in ours)
        )
        return {
            group["name"]: Seen(group["tags"][NAME], _end(group)) for group in groups if group is not None
        }

    async def output(self, handle: str) -> str:
        path, params = f"/{handle}/containers/worker/logs", {"tail": _LINES}
        answer = await self._call("GET", path, "the output can't be read", params=params, missing=True)
        return str((answer or {}).get("content") or "")

    async def remove(self, handle: str) -> None:
        await self._call("DELETE", f"/{handle}", f"{handle} can't be deleted", missing=True)

    async def close(self) -> None:
        await self._rest.close()

    async def _call(
        self, method: str, path: str, what: str, *, params: Mapping[str, str] | None = None, **more: Any
    ) -> Any:
        given = {**(params or {}), "api-version": API_VERSION}
        return await self._rest.call(method, f"/containerGroups{path}", what, params=given, **more)

    def group(self, launch: Launch) -> dict[str, Any]:
        """What is asked for."""
        spec, settings = launch.spec, self._settings
        image = spec.image or settings.image
        if not image or not settings.subscription:
            raise SandboxFailed(
                "set RCLAUDE_RUNNER_CONTAINER_INSTANCES_SUBSCRIPTION, and RCLAUDE_RUNNER_CONTAINER_INSTANCES_IMAGE to the "
                "worker's image"
            )
        size = container_size(spec.limits)
        if size.cpus * 1000 != spec.limits.vcpu_millis or size.memory_gb * 1024 != spec.limits.memory_mib:
            log.info(
                "a container group is larger than what was asked for",
                sandbox=spec.name,
                vcpu_millis=size.cpus * 1000,
                memory_mib=int(size.memory_gb * 1024),
            )
        labels = {f"remote-claude-label-{key}": value for key, value in spec.labels.items()}
        properties: dict[str, Any] = {
            "osType": "Linux",
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "worker",
                    "properties": {
                        "image": image,
                        "command": [*launch.command],
                        "environmentVariables": [
                            {"name": key, "secureValue": value} for key, value in launch.env.items()
                        ],
                        "resources": {"requests": {"cpu": size.cpus, "memoryInGB": size.memory_gb}},
                    },
                }
            ],
        }
        if settings.registry_server:
            properties["imageRegistryCredentials"] = [
                {
                    "server": settings.registry_server,
                    "username": settings.registry_username,
                    "password": settings.registry_password,
                }
            ]
        if settings.subnet:
            properties["subnetIds"] = [{"id": settings.subnet}]
        return {
            "location": settings.location,
            "tags": {**labels, RUNNER: launch.runner, NAME: spec.name, REQUEST: launch.request},
            "properties": properties,
        }


def _end(group: Any) -> SandboxExit | ProviderError | None:
    name, properties = group["tags"][NAME], group["properties"]
    view = properties["containers"][0]["properties"].get("instanceView", {})
    state = view.get("currentState", {})
    if state.get("state") == "Terminated":
        code, detail = int(state.get("exitCode", KILLED)), str(state.get("detailStatus", ""))
        if "OOMKilled" in detail:
            return SandboxExit(code or KILLED, "out_of_memory")
        return SandboxExit(code, "killed" if code == KILLED else "exited")
    of_group = properties.get("instanceView", {}).get("state")
    if of_group == "Stopped":
        return SandboxExit(KILLED, "killed")
    if properties.get("provisioningState") == "Failed" or of_group == "Failed":
        events = [*view.get("events", []), *properties.get("instanceView", {}).get("events", [])]
        why = "; ".join(str(event.get("message", "")) for event in events[-3:]) or "no reason given"
        problem = f"the container group of {name} never ran: {why}"
        return ImageUnusable(problem) if "pull" in why.lower() else SandboxFailed(problem)
    return None


def _refusal(status: int, message: str, what: str) -> ProviderError | None:
    problem = f"{what}: Azure says {status}: {message}"
    if "QuotaReached" in message or "QuotaExceeded" in message:
        return QuotaReached(
            f"{problem}. Ask for a higher quota in the portal under Quotas, Container Instances"
        )
    if "InaccessibleImage" in message:
        return ImageUnusable(
            f"{problem}. Push the image, and set the registry's name and password where it asks for one"
        )
    if "not available in the location" in message or "ServiceUnavailable" in message:
        return CapacityMissing(f"{problem}. It is tried again; use another location if this goes on")
    return None
