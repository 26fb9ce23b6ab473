"""A double of a Kubernetes cluster for Jobs, their pods and logs. What it is asked and what it answers is held against the
schemas of Kubernetes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import kubernetes_validate
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from clouds.machines import Machines, Processes
from remote_claude.runner.providers import SandboxExit

VERSION = "1.37"


def valid(document: Any) -> Any:
    """The document itself. Raises for anything that Kubernetes does not know."""
    kubernetes_validate.validate(document, VERSION, strict=True)
    return document


def refusal(code: int, reason: str, message: str) -> Response:
    body = {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }
    return JSONResponse(body, code)


class Cluster:
    """`refuse` answers the next creation; `states` are what pods show in place of their own state."""

    def __init__(self, machines: Machines | Processes) -> None:
        self._machines = machines
        self.jobs: dict[str, dict[str, Any]] = {}
        self.refuse: tuple[int, str, str] | None = None
        self.states: dict[str, Any] = {}
        base = "/namespaces/{namespace}"
        self.app = Starlette(
            routes=[
                Route(f"/apis/batch/v1{base}/jobs", self._create, methods=["POST"]),
                Route(f"/apis/batch/v1{base}/jobs", self._list_jobs),
                Route(f"/apis/batch/v1{base}/jobs/{{name}}", self._get),
                Route(f"/apis/batch/v1{base}/jobs/{{name}}", self._delete, methods=["DELETE"]),
                Route(f"/api/v1{base}/pods", self._list_pods),
                Route(f"/api/v1{base}/pods/{{name}}/log", self._log),
            ]
        )

    async def _create(self, request: Request) -> Response:
        job = valid(await request.json())
        if self.refuse is not None:
            return refusal(*self.refuse)
        name = job["metadata"]["name"]
        if name in self.jobs:
            return refusal(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
        job["metadata"]["creationTimestamp"] = (
            datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        )
        if not self.states:
            (container,) = job["spec"]["template"]["spec"]["containers"]
            env = {one["name"]: one["value"].replace("$$", "$") for one in container["env"]}
            memory = int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
            await self._machines.start(name, container["command"], env, memory)
        self.jobs[name] = job
        return JSONResponse(valid(job), 201)

    async def _get(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["name"])
        return JSONResponse(valid(job)) if job is not None else refusal(404, "NotFound", "not found")

    async def _delete(self, request: Request) -> Response:
        name = request.path_params["name"]
        assert (await request.json())["propagationPolicy"] == "Foreground"
        if name not in self.jobs:
            return refusal(404, "NotFound", "not found")
        if not self.states:
            await self._machines.kill(name)
        job = self.jobs.pop(name, None)
        return JSONResponse(valid(job)) if job is not None else refusal(404, "NotFound", "not found")

    async def _list_jobs(self, request: Request) -> Response:
        return self._page("batch/v1", "JobList", [valid(job) for job in self._chosen(request)])

    async def _list_pods(self, request: Request) -> Response:
        return self._page("v1", "PodList", [valid(self._pod(job)) for job in self._chosen(request)])

    async def _log(self, request: Request) -> Response:
        end = None if self.states else self._machines.end(request.path_params["name"].removesuffix("-x1"))
        return PlainTextResponse(end.output if end is not None else "")

    def _chosen(self, request: Request) -> list[dict[str, Any]]:
        key, value = request.query_params["labelSelector"].split("=")
        return [job for job in self.jobs.values() if job["metadata"]["labels"].get(key) == value]

    def _page(self, version: str, kind: str, items: list[Any]) -> Response:
        return JSONResponse({"apiVersion": version, "kind": kind, "metadata": {}, "items": items})

    def _pod(self, job: dict[str, Any]) -> dict[str, Any]:
        name, template = job["metadata"]["name"], job["spec"]["template"]
        status = self.states or _status(self._machines.end(name))
        meta = {
            **template["metadata"],
            "name": f"{name}-x1",
            "creationTimestamp": job["metadata"]["creationTimestamp"],
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": meta,
            "spec": template["spec"],
            "status": status,
        }


def _status(end: SandboxExit | None) -> dict[str, Any]:
    if end is None:
        return running({"running": {"startedAt": "2030-01-01T00:00:00Z"}}, "Running")
    done = {"exitCode": end.code, "reason": "Completed" if end.code == 0 else "Error"}
    return running({"terminated": done}, "Succeeded" if end.code == 0 else "Failed")


def running(state: dict[str, Any], phase: str = "Failed") -> dict[str, Any]:
    """The status of a pod whose container is in this state."""
    worker = {
        "name": "worker",
        "image": "worker",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": state,
    }
    return {"phase": phase, "containerStatuses": [worker]}
