"""Jobs: one pod each, never tried again by the cluster, locked down as far as a pod can be.

A Job's name is derived from the launch, so that a second launch under one name is refused by the cluster itself. Labels say
whose it is. `activeDeadlineSeconds` ends it also when no runner is there. Source: Kubernetes API reference, batch/v1 and
core/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import httpx2

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
from remote_claude.runner.providers.kubernetes import access
from remote_claude.runner.providers.kubernetes.settings import KubernetesSettings

RUNNER, LAUNCH = "remote-claude/runner", "remote-claude/launch"
"""Labels: whose Job it is, and which. A label is at most 63 characters: names are annotations."""
NAME, REQUEST = "remote-claude/name", "remote-claude/request"
USER = 1000
_LINES = "200"
_RIGHTS = "Its user needs create, get, list and delete for jobs, list for pods and get for pods/log in the namespace"
_NO_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
_NEVER_RAN = {"StartError", "ContainerCannotRun"}


class KubernetesCloud:
    """One namespace of one cluster."""

    name: ClassVar[str] = "kubernetes"
    capabilities: ClassVar[Capabilities] = Capabilities(memory_limit=True, disk_limit=True, image=True)
    """A NetworkPolicy is the cluster's to enforce: nothing here checks that it does."""

    def __init__(
        self, runner: str, settings: KubernetesSettings, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._runner, self._settings, self._transport = runner, settings, transport
        self.poll_s = settings.poll_s
        self._rest: Rest | None = None

    async def start(self, launch: Launch) -> str:
        what = f"the Job of {launch.spec.name} can't be created"
        job = self.job(launch)
        try:
            await self._call("POST", "jobs", what, json=job)
        except SandboxExists:
            found = await self._call("GET", f"jobs/{launch.id}", what, missing=True)
            if found is None or found["metadata"].get("annotations", {}).get(REQUEST) != launch.request:
                raise
        return launch.id

    async def seen(self) -> Mapping[str, Seen]:
        only = {"labelSelector": f"{RUNNER}={self._runner}"}
        jobs = await self._call("GET", "jobs", "the Jobs can't be listed", params=only)
        pods = await self._call("GET", "pods", "the pods can't be listed", params=only)
        of_job = {pod["metadata"]["labels"].get(LAUNCH): pod for pod in pods["items"]}
        return {
            job["metadata"]["name"]: Seen(
                job["metadata"]["annotations"][NAME], self._end(job, of_job.get(job["metadata"]["name"]))
            )
            for job in jobs["items"]
            if "deletionTimestamp" not in job["metadata"] or job["metadata"]["name"] in of_job
        }

    async def output(self, handle: str) -> str:
        only = {"labelSelector": f"{LAUNCH}={handle}"}
        pods = await self._call("GET", "pods", "the pod can't be found", params=only)
        if not pods["items"]:
            return ""
        path = f"pods/{pods['items'][0]['metadata']['name']}/log"
        return str(await self._call("GET", path, "the output can't be read", params={"tailLines": _LINES}))

    async def remove(self, handle: str) -> None:
        options = {"propagationPolicy": "Foreground", "gracePeriodSeconds": 0}
        await self._call("DELETE", f"jobs/{handle}", f"{handle} can't be deleted", json=options, missing=True)

    async def close(self) -> None:
        if self._rest is not None:
            await self._rest.close()

    async def _call(self, method: str, path: str, what: str, **more: Any) -> Any:
        if self._rest is None:
            found = access.find(self._settings.kubeconfig, self._settings.context)
            self._rest = Rest(
                "the cluster", found.server, found.headers, _refusal,
                sign_in=_RIGHTS, verify=found.verify, transport=self._transport,
            )  # fmt: skip
        group = "/apis/batch/v1" if path.startswith("jobs") else "/api/v1"
        return await self._rest.call(
            method, f"{group}/namespaces/{self._settings.namespace}/{path}", what, **more
        )

    def job(self, launch: Launch) -> dict[str, Any]:
        """What is asked for."""
        spec, settings = launch.spec, self._settings
        limits = spec.limits
        size = {"cpu": f"{limits.vcpu_millis}m", "memory": f"{limits.memory_mib}Mi"}
        size["ephemeral-storage"] = f"{limits.disk_mib}Mi"
        labels = {RUNNER: launch.runner, LAUNCH: launch.id, "app.kubernetes.io/managed-by": "remote-claude"}
        notes = {f"remote-claude/{key}": value for key, value in spec.labels.items()}
        notes |= {NAME: spec.name, REQUEST: launch.request}
        env = {"HOME": "/home/agent", "USER": "agent", "TZ": "UTC", "LANG": "C.UTF-8", **launch.env}
        disks = {"workspace": ("/workspace", 2), "home": ("/home/agent", 4), "tmp": ("/tmp", 4)}  # noqa: S108  in the pod
        pod: dict[str, Any] = {
            "restartPolicy": "Never",
            "serviceAccountName": settings.service_account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "worker",
                    "image": spec.image or settings.image,
                    "command": [*launch.command],
                    "env": [{"name": key, "value": value.replace("$(", "$$(")} for key, value in env.items()],
                    "workingDir": "/workspace",
                    "resources": {"limits": size, "requests": size},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": name, "mountPath": path} for name, (path, _) in disks.items()],
                }
            ],
            "volumes": [
                {"name": name, "emptyDir": {"sizeLimit": f"{max(limits.disk_mib // part, 1)}Mi"}}
                for name, (_, part) in disks.items()
            ],
        }
        if settings.runtime_class:
            pod["runtimeClassName"] = settings.runtime_class
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": launch.id, "labels": labels, "annotations": notes},
            "spec": {
                "backoffLimit": 0,
                "activeDeadlineSeconds": launch.deadline_s + settings.schedule_s,
                "ttlSecondsAfterFinished": 3600,
                "template": {"metadata": {"labels": labels, "annotations": notes}, "spec": pod},
            },
        }

    def _end(self, job: Any, pod: Any) -> SandboxExit | ProviderError | None:
        name = job["metadata"]["annotations"][NAME]
        failed = next(
            (
                c
                for c in job.get("status", {}).get("conditions", ())
                if c["type"] == "Failed" and c["status"] == "True"
            ),
            None,
        )
        if pod is not None and (end := self._pod_end(name, pod)) is not None:
            return end
        if failed is None:
            return None
        if failed.get("reason") == "DeadlineExceeded":
            return SandboxExit(KILLED, "deadline")
        return SandboxExit(KILLED, "killed", str(failed.get("message", "")))

    def _pod_end(self, name: str, pod: Any) -> SandboxExit | ProviderError | None:
        status = pod.get("status", {})
        containers = status.get("containerStatuses") or [{}]
        state = containers[0].get("state", {})
        if (done := state.get("terminated")) is not None:
            code, reason, message = int(done["exitCode"]), done.get("reason", ""), done.get("message", "")
            if reason in _NEVER_RAN:
                return SandboxFailed(f"the pod of {name} never ran: {reason}: {message}")
            if reason == "OOMKilled":
                return SandboxExit(code or KILLED, "out_of_memory")
            return SandboxExit(code, "killed" if code == KILLED else "exited")
        if status.get("phase") == "Failed":
            return SandboxExit(KILLED, "killed", f"{status.get('reason', '')}: {status.get('message', '')}")
        waiting = state.get("waiting", {})
        if waiting.get("reason") in _NO_IMAGE:
            return ImageUnusable(
                f"the image of {name} can't be pulled: {waiting.get('message', waiting['reason'])}: push it to where "
                "RCLAUDE_RUNNER_KUBERNETES_IMAGE or the task says, and let the namespace pull it"
            )
        if waiting.get("reason") == "CreateContainerConfigError":
            return SandboxFailed(f"the pod of {name} can't be created: {waiting.get('message', '')}")
        placed: Any = next((c for c in status.get("conditions", ()) if c["type"] == "PodScheduled"), {})
        if placed.get("reason") == "Unschedulable" and self._waited_s(pod) > self._settings.schedule_s:
            return CapacityMissing(
                f"no node takes the pod of {name}: {placed.get('message', '')}. Add nodes, or ask for less"
            )
        return None

    @staticmethod
    def _waited_s(pod: Any) -> float:
        created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
        return (datetime.now(UTC) - created).total_seconds()


def _refusal(status: int, message: str, what: str) -> ProviderError | None:
    problem = f"{what}: the cluster says {status}: {message}"
    if status == 403 and "exceeded quota" in message:
        return QuotaReached(f"{problem}. Raise the ResourceQuota of the namespace")
    if status == 403:
        return CredentialsRefused(f"{problem}. {_RIGHTS}")
    if status == 404:
        return SandboxFailed(
            f"{problem}. Create the namespace that RCLAUDE_RUNNER_KUBERNETES_NAMESPACE names"
        )
    return None
