"""Codespaces: one for each sandbox, made, given its command, and deleted.

GitHub's API takes neither a command nor an environment. The template starts the worker's launcher in each codespace, on a
private port that GitHub forwards to who owns the codespace: the launcher takes one command, and shows its output and its end.
GitHub has no idempotency token either: a codespace's display name says which launch it is of, and is looked for first.
Source: GitHub REST API 2022-11-28, "Codespaces"; GitHub Docs, "Forwarding ports in your codespace".
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import httpx2

from remote_claude.runner.providers.base import (
    Capabilities,
    CapacityMissing,
    CredentialsRefused,
    ProviderError,
    QuotaReached,
    SandboxExists,
    SandboxExit,
    SandboxFailed,
    SandboxLimits,
    SandboxTooLarge,
)
from remote_claude.runner.providers.clouds import Launch, Rest, Seen
from remote_claude.runner.providers.clouds.provider import KILLED
from remote_claude.runner.providers.codespaces.settings import CodespacesSettings
from remote_claude.worker.launcher import PORT

_STARTED = "Available"
_BROKEN = {"Failed", "Unavailable"}
_STOPPED = {"Shutdown", "ShuttingDown", "Archived", "Deleted", "Moved", "Exporting"}
_SIGN_IN = (
    "Make a token with the permission `codespaces` for the repository and set RCLAUDE_RUNNER_CODESPACES_TOKEN"
)
_IDLE_MIN, _IDLE_MAX = 5, 240
_PAGE = "100"


class CodespacesCloud:
    """One repository."""

    name: ClassVar[str] = "codespaces"
    capabilities: ClassVar[Capabilities] = Capabilities()
    """A machine has a size that GitHub sells; the network leads to the internet, and the image is the template's."""

    def __init__(
        self, runner: str, settings: CodespacesSettings, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._settings, self._transport = settings, transport
        self._ours = f"rc-{hashlib.sha256(runner.encode()).hexdigest()[:8]}-"
        self._runner = runner
        self.poll_s = settings.poll_s
        self._rest = self._client(settings.api, self._headers)
        self._launchers: dict[str, Rest] = {}

    async def start(self, launch: Launch) -> str:
        what = f"the codespace of {launch.spec.name} can't be created"
        own = f"{self._ours}{launch.id[3:31]}-"
        name = f"{own}{launch.request[:6]}"
        same = [one for one in await self._list() if str(one.get("display_name") or "").startswith(own)]
        if any(one["display_name"] != name for one in same):
            raise SandboxExists(f"{what}: another process has launched under this name")
        if same:
            handle = str(same[0]["name"])
        else:
            asked = await self._asked(launch, name, what)
            made = await self._rest.call("POST", f"{self._path}/codespaces", what, json=asked, again=False)
            handle = str(made["name"])
        try:
            await self._until_started(handle, what)
            await self._give(handle, launch, what)
        except ProviderError:
            await self.remove(handle)
            raise
        return handle

    async def seen(self) -> Mapping[str, Seen]:
        ours = [one for one in await self._list() if str(one.get("display_name")).startswith(self._ours)]
        return dict(zip((str(one["name"]) for one in ours), await self._all(ours), strict=True))

    async def output(self, handle: str) -> str:
        return str((await self._status(handle) or {}).get("output", ""))

    async def remove(self, handle: str) -> None:
        if (launcher := self._launchers.pop(handle, None)) is not None:
            await launcher.close()
        await self._rest.call(
            "DELETE", f"/user/codespaces/{handle}", f"{handle} can't be deleted", missing=True
        )

    async def close(self) -> None:
        await asyncio.gather(self._rest.close(), *(one.close() for one in self._launchers.values()))

    async def _asked(self, launch: Launch, name: str, what: str) -> dict[str, Any]:
        settings = self._settings
        found = await self._rest.call("GET", f"{self._path}/codespaces/machines", what)
        minutes = math.ceil(launch.deadline_s / 60)
        return {
            "machine": machine(launch.spec.limits, found["machines"]),
            "display_name": name,
            "idle_timeout_minutes": min(max(minutes, _IDLE_MIN), _IDLE_MAX),
            "retention_period_minutes": 60,
            "multi_repo_permissions_opt_out": True,
            **({"ref": settings.ref} if settings.ref else {}),
            **({"geo": settings.geo} if settings.geo else {}),
        }

    async def _until_started(self, handle: str, what: str) -> None:
        until = time.monotonic() + self._settings.start_s
        while True:
            one = await self._rest.call("GET", f"/user/codespaces/{handle}", what)
            if one["state"] == _STARTED:
                return
            if one["state"] in _BROKEN | _STOPPED:
                raise SandboxFailed(f"{what}: it is {one['state']}; its creation log in GitHub says why")
            if time.monotonic() > until:
                raise CapacityMissing(f"{what}: it is {one['state']} after {self._settings.start_s:g} s")
            await asyncio.sleep(self.poll_s)

    async def _give(self, handle: str, launch: Launch, what: str) -> None:
        """The command, once. The port is forwarded a little after the codespace has started."""
        given = {
            "id": launch.id,
            "runner": launch.runner,
            "name": launch.spec.name,
            "command": [*launch.command],
            "env": dict(launch.env),
        }
        await self._launcher(handle).call("POST", "/", f"{what}: its launcher does not answer", json=given)

    async def _all(self, ours: list[Any]) -> list[Seen]:
        return await asyncio.gather(*(self._look_at(one) for one in ours))

    async def _look_at(self, one: Any) -> Seen:
        name, state = str(one["display_name"]), str(one["state"])
        if state == _STARTED:
            status = await self._status(str(one["name"])) or {}
            name = str(status.get("name", name))
            if (code := status.get("code")) is None:
                return Seen(name)
            return Seen(name, SandboxExit(code, "killed" if code == KILLED else "exited", status["output"]))
        if state in _BROKEN:
            return Seen(name, SandboxFailed(f"the codespace of {name} is {state}"))
        return Seen(name, SandboxExit(KILLED, "killed") if state in _STOPPED else None)

    async def _status(self, handle: str) -> Any:
        """What the launcher shows; None while it does not answer."""
        try:
            return await self._launcher(handle).call("GET", "/", f"{handle} can't be looked at", missing=True)
        except CredentialsRefused:
            raise
        except ProviderError:
            return None

    async def _list(self) -> list[Any]:
        found: list[Any] = []
        page = 1
        while True:
            answer = await self._rest.call(
                "GET",
                f"{self._path}/codespaces",
                "the codespaces can't be listed",
                params={"per_page": _PAGE, "page": str(page)},
            )
            found += answer["codespaces"]
            if len(found) >= answer["total_count"] or not answer["codespaces"]:
                return found
            page += 1

    @property
    def _path(self) -> str:
        if not self._settings.repository:
            raise SandboxFailed(
                "set RCLAUDE_RUNNER_CODESPACES_REPOSITORY to the repository that was made from deploy/codespaces"
            )
        return f"/repos/{self._settings.repository}"

    def _launcher(self, handle: str) -> Rest:
        if handle not in self._launchers:
            address = self._settings.ports.format(name=handle, port=PORT)
            self._launchers[handle] = self._client(address, self._port_headers)
        return self._launchers[handle]

    def _client(self, base: str, headers: Any) -> Rest:
        return Rest("GitHub", base, headers, _refusal, sign_in=_SIGN_IN, transport=self._transport)

    async def _headers(self) -> Mapping[str, str]:
        return {
            "authorization": f"Bearer {self._token}",
            "accept": "application/vnd.github+json",
            "x-github-api-version": "2022-11-28",
        }

    async def _port_headers(self) -> Mapping[str, str]:
        return {"x-github-token": self._token}

    @property
    def _token(self) -> str:
        if not self._settings.token:
            raise CredentialsRefused(f"there is no token for GitHub Codespaces. {_SIGN_IN}")
        return self._settings.token


def machine(limits: SandboxLimits, offered: list[Any]) -> str:
    """The smallest machine of this repository that holds the limits. Raises `SandboxTooLarge`."""
    fits = [
        (one["cpus"], one["memory_in_bytes"], one["name"])
        for one in offered
        if one["cpus"] * 1000 >= limits.vcpu_millis and one["memory_in_bytes"] >= limits.memory_mib << 20
    ]
    if not fits:
        raise SandboxTooLarge(
            f"GitHub has no machine of {limits.vcpu_millis} vCPU-millis and {limits.memory_mib} MiB for this repository; "
            "ask for less, or use another provider"
        )
    return str(min(fits)[2])


def _refusal(status: int, message: str, what: str) -> ProviderError | None:
    problem, lower = f"{what}: GitHub says {status}: {message}", message.lower()
    if status in (402, 403, 422) and any(word in lower for word in ("maximum", "spending", "billing")):
        return QuotaReached(
            f"{problem}. Delete codespaces, or raise the spending limit in GitHub's billing settings"
        )
    if status == 503:
        return CapacityMissing(f"{problem}. It is tried again")
    if status == 404:
        return SandboxFailed(
            f"{problem}. Make the repository that RCLAUDE_RUNNER_CODESPACES_REPOSITORY names, and let the token see it"
        )
    return None
