"""Machines: micro-VMs that are created under a unique name, never restarted, and destroyed after their end.

Source: Fly Machines API, resource `machines`; the logs are those that `fly logs` reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

import httpx2
import structlog

from remote_claude.runner.providers.base import (
    Capabilities,
    CapacityMissing,
    CredentialsRefused,
    ImageUnusable,
    ProviderError,
    QuotaReached,
    SandboxExists,
    SandboxExit,
    SandboxFailed,
)
from remote_claude.runner.providers.clouds import Launch, Rest, Seen
from remote_claude.runner.providers.clouds.provider import KILLED
from remote_claude.runner.providers.fly.settings import FlySettings
from remote_claude.runner.providers.fly.sizes import fly_size

log = structlog.get_logger(__name__)

_ENDED = {"stopped", "failed", "destroyed"}
_GONE = {"destroying", "destroyed"}
_SIGN_IN = "Make a deploy token of the app (`fly tokens create deploy`) and set RCLAUDE_RUNNER_FLY_TOKEN"
_SIGNALLED = 128


class FlyCloud:
    """One app."""

    name: ClassVar[str] = "fly"
    capabilities: ClassVar[Capabilities] = Capabilities(memory_limit=True, image=True)
    """A Machine's disk has a size that Fly chooses, and its network leads to the internet."""

    def __init__(
        self, runner: str, settings: FlySettings, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._runner, self._settings = runner, settings
        self.poll_s = settings.poll_s
        self._rest = Rest(
            "Fly", f"{settings.api}/v1/apps/{settings.app}", self._headers, _refusal,
            sign_in=_SIGN_IN, transport=transport,
        )  # fmt: skip
        self._logs = Rest(
            "Fly", f"{settings.logs_api}/api/v1/apps/{settings.app}", self._headers, _refusal,
            sign_in=_SIGN_IN, transport=transport,
        )  # fmt: skip

    async def start(self, launch: Launch) -> str:
        what = f"the Machine of {launch.spec.name} can't be created"
        try:
            machine = await self._rest.call("POST", "/machines", what, json=self.machine(launch))
        except SandboxExists:
            found = await self._machines({"metadata.launch": launch.id})
            same = [m for m in found if m["config"]["metadata"].get("request") == launch.request]
            if not same:
                raise
            machine = same[0]
        return str(machine["id"])

    async def seen(self) -> Mapping[str, Seen]:
        found = await self._machines({"metadata.runner": self._runner})
        ended = [m for m in found if m["state"] in _ENDED]
        whole = await asyncio.gather(*(self._whole(m["id"]) for m in ended))
        events = {m["id"]: m for m in whole if m is not None}
        return {
            m["id"]: Seen(m["config"]["metadata"]["name"], _end(events.get(m["id"], m)))
            for m in found
            if m["state"] not in _GONE
        }

    async def output(self, handle: str) -> str:
        answer = await self._logs.call(
            "GET", "/logs", "the output can't be read", params={"instance": handle}, again=False
        )
        return "".join(f"{line['attributes']['message']}\n" for line in answer["data"])

    async def remove(self, handle: str) -> None:
        await self._rest.call(
            "DELETE",
            f"/machines/{handle}",
            f"{handle} can't be destroyed",
            params={"force": "true"},
            missing=True,
        )

    async def close(self) -> None:
        await self._rest.close()
        await self._logs.close()

    async def _machines(self, only: Mapping[str, str]) -> list[Any]:
        return list(await self._rest.call("GET", "/machines", "the Machines can't be listed", params=only))

    async def _whole(self, id: str) -> Any:
        return await self._rest.call("GET", f"/machines/{id}", f"{id} can't be looked at", missing=True)

    async def _headers(self) -> Mapping[str, str]:
        if not self._settings.token:
            raise CredentialsRefused(f"there is no token for Fly. {_SIGN_IN}")
        token = self._settings.token
        return {"authorization": token if token.startswith("FlyV1 ") else f"Bearer {token}"}

    def machine(self, launch: Launch) -> dict[str, Any]:
        """What is asked for."""
        spec, settings = launch.spec, self._settings
        size = fly_size(spec.limits)
        if (size.cpus * 1000, size.memory_mib) != (spec.limits.vcpu_millis, spec.limits.memory_mib):
            log.info(
                "a Machine is larger than what was asked for",
                sandbox=spec.name,
                vcpu_millis=size.cpus * 1000,
                memory_mib=size.memory_mib,
            )
        labels = {f"label_{key}": value for key, value in spec.labels.items()}
        own = {"runner": launch.runner, "name": spec.name, "launch": launch.id, "request": launch.request}
        return {
            "name": launch.id,
            **({"region": settings.region} if settings.region else {}),
            "skip_service_registration": True,
            "config": {
                "image": spec.image or settings.image,
                "init": {"exec": [*launch.command]},
                "env": dict(launch.env),
                "guest": {"cpu_kind": size.kind, "cpus": size.cpus, "memory_mb": size.memory_mib},
                "restart": {"policy": "no"},
                "auto_destroy": False,
                "metadata": {**labels, **own},
            },
        }


def _end(machine: Any) -> SandboxExit | ProviderError | None:
    """From the last event `exit`. A Machine that never ran has none."""
    if machine["state"] not in _ENDED:
        return None
    name = machine["config"]["metadata"]["name"]
    exits = [e for e in machine.get("events") or () if e["type"] == "exit"]
    if not exits:
        return SandboxFailed(
            f"the Machine of {name} never ran: it is {machine['state']}; `fly logs` says more"
        )
    exit_event = (max(exits, key=lambda e: e["timestamp"]).get("request") or {}).get("exit_event", {})
    code, signal = int(exit_event.get("exit_code", 0)), int(exit_event.get("signal", -1))
    if exit_event.get("oom_killed"):
        return SandboxExit(code or KILLED, "out_of_memory")
    if signal > 0:
        code = code or _SIGNALLED + signal
    return SandboxExit(code, "killed" if code == KILLED or exit_event.get("requested_stop") else "exited")


def _refusal(status: int, message: str, what: str) -> ProviderError | None:
    problem, lower = f"{what}: Fly says {status}: {message}", message.lower()
    if "insufficient resources" in lower or "no capacity" in lower or "could not reserve resource" in lower:
        return CapacityMissing(
            f"{problem}. It is tried again; name another region in RCLAUDE_RUNNER_FLY_REGION"
        )
    if "limit" in lower and status in (403, 422):
        return QuotaReached(f"{problem}. Ask Fly for a higher limit of the organisation")
    if "manifest" in lower or "image" in lower:
        return ImageUnusable(f"{problem}. Push the worker's image to where RCLAUDE_RUNNER_FLY_IMAGE says")
    if "already exists" in lower or "unique name violation" in lower:
        return SandboxExists(f"{problem}. Another process has launched under this name")
    if status == 404:
        return SandboxFailed(
            f"{problem}. Create the app that RCLAUDE_RUNNER_FLY_APP names: `fly apps create`"
        )
    return None
