"""Jobs of Cloud Run: one for each sandbox, with one execution of one task that is never tried again.

`jobs.run` knows no idempotency token, and an override can't change a job's size. So each launch creates a job under a name
of its own, which a second creation is refused for, with `startExecutionToken`: Cloud Run starts the execution itself, once for
each token. Source: Cloud Run Admin API v2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
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
from remote_claude.runner.providers.cloud_run.credentials import SIGN_IN, GoogleCredentials
from remote_claude.runner.providers.cloud_run.settings import CloudRunSettings
from remote_claude.runner.providers.cloud_run.sizes import cloud_run_size
from remote_claude.runner.providers.clouds import Launch, Rest, Seen
from remote_claude.runner.providers.clouds.provider import KILLED

log = structlog.get_logger(__name__)

RUNNER = "remote-claude-runner"
"""A label: lower case, at most 63 characters. The names are annotations."""
NAME, REQUEST = "remote-claude.dev/name", "remote-claude.dev/request"
_LINES = 200
_SIGNALLED = 128


class GoogleAuthorization(Protocol):
    """Who calls, and for which project."""

    async def headers(self) -> Mapping[str, str]: ...

    async def project(self) -> str: ...


class CloudRunCloud:
    """One project and region."""

    name: ClassVar[str] = "cloud_run"
    capabilities: ClassVar[Capabilities] = Capabilities(memory_limit=True, image=True)
    """Files are in memory; the network is what the settings name."""

    def __init__(
        self,
        runner: str,
        settings: CloudRunSettings,
        credentials: GoogleAuthorization | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._runner, self._settings = runner, settings
        self._credentials = credentials or GoogleCredentials()
        self.poll_s = settings.poll_s
        self._rest, self._logs = (
            Rest(
                "Google Cloud",
                base,
                self._credentials.headers,
                _refusal,
                sign_in=SIGN_IN,
                transport=transport,
            )
            for base in (f"{settings.api}/v2", f"{settings.logging_api}/v2")
        )
        self._known: dict[str, Seen] = {}
        """How the executions that have ended did so: that does not change."""

    async def start(self, launch: Launch) -> str:
        what = f"the job of {launch.spec.name} can't be created"
        jobs = await self._jobs()
        try:
            await self._rest.call("POST", jobs, what, params={"jobId": launch.id}, json=self.job(launch))
        except SandboxExists:
            found = await self._rest.call("GET", f"{jobs}/{launch.id}", what, missing=True)
            if found is None or found.get("annotations", {}).get(REQUEST) != launch.request:
                raise
        return launch.id

    async def seen(self) -> Mapping[str, Seen]:
        jobs: list[Any] = []
        page: dict[str, str] = {}
        while True:
            answer = await self._rest.call("GET", await self._jobs(), "the jobs can't be listed", params=page)
            jobs += answer.get("jobs", [])
            if not answer.get("nextPageToken"):
                break
            page = {"pageToken": answer["nextPageToken"]}
        ours = [
            job
            for job in jobs
            if job.get("labels", {}).get(RUNNER) == _label(self._runner) and "deleteTime" not in job
        ]
        seen = await asyncio.gather(*(self._look_at(job) for job in ours))
        return dict(zip((job["name"].rsplit("/", 1)[-1] for job in ours), seen, strict=True))

    async def output(self, handle: str) -> str:
        """Out of Cloud Logging, where lines arrive some seconds after they were written."""
        project = (await self._jobs()).split("/")[2]
        query = {
            "resourceNames": [f"projects/{project}"],
            "filter": f'resource.type="cloud_run_job" resource.labels.job_name="{handle}"',
            "orderBy": "timestamp desc",
            "pageSize": _LINES,
        }
        answer = await self._logs.call("POST", "/entries:list", "the output can't be read", json=query)
        lines = [entry["textPayload"] for entry in answer.get("entries", []) if "textPayload" in entry]
        return "".join(f"{line}\n" for line in reversed(lines))

    async def remove(self, handle: str) -> None:
        """A job can't be deleted while its execution runs: that is cancelled first."""
        path = f"{await self._jobs()}/{handle}"
        what = f"{handle} can't be removed"
        for execution in await self._executions(path):
            if "completionTime" not in execution:
                await self._rest.call("POST", f"/{execution['name']}:cancel", what, json={}, missing=True)
        await self._rest.call("DELETE", path, what, missing=True)
        self._known.pop(handle, None)

    async def close(self) -> None:
        await self._rest.close()
        await self._logs.close()

    async def _jobs(self) -> str:
        project = self._settings.project or await self._credentials.project()
        return f"/projects/{project}/locations/{self._settings.region}/jobs"

    async def _executions(self, job: str) -> list[Any]:
        answer = await self._rest.call(
            "GET", f"{job}/executions", "the executions can't be listed", missing=True
        )
        return list((answer or {}).get("executions", []))

    async def _look_at(self, job: Any) -> Seen:
        handle, name = job["name"].rsplit("/", 1)[-1], job["annotations"][NAME]
        if handle in self._known:
            return self._known[handle]
        if (failed := _condition(job.get("terminalCondition"))) is not None:
            return Seen(name, _never_ran(name, failed))
        executions = await self._executions(f"/{job['name']}")
        if not executions or "completionTime" not in executions[0]:
            return Seen(name)
        answer = await self._rest.call(
            "GET", f"/{executions[0]['name']}/tasks", "the tasks can't be listed", missing=True
        )
        self._known[handle] = Seen(name, _end(name, executions[0], (answer or {}).get("tasks", [])))
        return self._known[handle]

    def job(self, launch: Launch) -> dict[str, Any]:
        """What is asked for."""
        spec, settings = launch.spec, self._settings
        image = spec.image or settings.image
        if not image:
            raise SandboxFailed("there is no image: set RCLAUDE_RUNNER_CLOUD_RUN_IMAGE to the worker's")
        size = cloud_run_size(spec.limits)
        if (size.cpus * 1000, size.memory_mib) != (spec.limits.vcpu_millis, spec.limits.memory_mib):
            log.info(
                "a job is larger than what was asked for",
                sandbox=spec.name,
                vcpu_millis=size.cpus * 1000,
                memory_mib=size.memory_mib,
            )
        notes = {f"remote-claude.dev/{key}": value for key, value in spec.labels.items()}
        notes |= {NAME: spec.name, REQUEST: launch.request}
        task: dict[str, Any] = {
            "maxRetries": 0,
            "timeout": f"{launch.deadline_s}s",
            "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2",
            "containers": [
                {
                    "image": image,
                    "command": [launch.command[0]],
                    "args": [*launch.command[1:]],
                    "env": [{"name": key, "value": value} for key, value in launch.env.items()],
                    "resources": {"limits": {"cpu": str(size.cpus), "memory": f"{size.memory_mib}Mi"}},
                }
            ],
        }
        if settings.service_account:
            task["serviceAccount"] = settings.service_account
        if settings.network or settings.subnet:
            interface = {"network": settings.network, "subnetwork": settings.subnet}
            chosen = {key: value for key, value in interface.items() if value}
            task["vpcAccess"] = {"egress": "ALL_TRAFFIC", "networkInterfaces": [chosen]}
        return {
            "labels": {RUNNER: _label(launch.runner)},
            "annotations": notes,
            "startExecutionToken": "run",
            "template": {"taskCount": 1, "parallelism": 1, "template": task},
        }


def _label(runner: str) -> str:
    return runner.lower()[:63]


def _condition(condition: Any) -> Any:
    return condition if condition and condition.get("state") == "CONDITION_FAILED" else None


def _never_ran(name: str, condition: Any) -> ProviderError:
    reason, message = str(condition.get("reason", "")), str(condition.get("message", ""))
    problem = f"the job of {name} never ran: {reason}: {message}"
    if reason.startswith("CONTAINER_") or "image" in message.lower():
        return ImageUnusable(
            f"{problem}. Push the image, and let the region's service agent of Cloud Run read it"
        )
    if "quota" in message.lower():
        return QuotaReached(f"{problem}. Raise it in the console under IAM & Admin, Quotas")
    if "capacity" in message.lower() or "unavailable" in message.lower():
        return CapacityMissing(f"{problem}. It is tried again; use another region if this goes on")
    return SandboxFailed(problem)


def _end(name: str, execution: Any, tasks: list[Any]) -> SandboxExit | ProviderError:
    condition: Any = next((c for c in execution.get("conditions", []) if c.get("type") == "Completed"), {})
    message = str(condition.get("message", ""))
    if execution.get("cancelledCount"):
        return SandboxExit(KILLED, "killed", message)
    if execution.get("succeededCount"):
        return SandboxExit(0, "exited")
    result = (tasks[0] if tasks else {}).get("lastAttemptResult", {})
    status = str(result.get("status", {}).get("message", "")) or message
    if "memory limit" in status.lower() or "out-of-memory" in status.lower():
        return SandboxExit(int(result.get("exitCode", 0)) or KILLED, "out_of_memory", status)
    if "timeout" in status.lower() or "deadline" in status.lower():
        return SandboxExit(int(result.get("exitCode", 0)) or KILLED, "deadline", status)
    if signal := int(result.get("termSignal", 0)):
        return SandboxExit(
            _SIGNALLED + signal, "killed" if _SIGNALLED + signal == KILLED else "exited", status
        )
    if code := int(result.get("exitCode", 0)):
        return SandboxExit(code, "killed" if code == KILLED else "exited")
    return _never_ran(name, {**condition, "message": status})


def _refusal(status: int, message: str, what: str) -> ProviderError | None:
    problem = f"{what}: Google Cloud says {status}: {message}"
    if "quota" in message.lower():
        return QuotaReached(f"{problem}. Raise it in the console under IAM & Admin, Quotas")
    if status == 503:
        return CapacityMissing(f"{problem}. It is tried again; use another region if this goes on")
    return None
