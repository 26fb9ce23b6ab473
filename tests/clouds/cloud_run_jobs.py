"""A double of Cloud Run's jobs, executions and tasks and of Cloud Logging's list, held against Google's discovery document."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clouds.described import valid
from clouds.machines import Machines, Processes


def held(name: str, document: Any) -> Response:
    return JSONResponse(valid("cloud_run", f"GoogleCloudRunV2{name}", document))


def operation(name: str) -> Response:
    return JSONResponse(
        valid("cloud_run", "GoogleLongrunningOperation", {"name": f"operations/{name}", "done": False})
    )


def refusal(code: int, status: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "status": status, "message": message}}, code)


class CloudRun:
    """`refuse` answers the next creation; `ended` is what the execution and its task show in place of their own end."""

    def __init__(self, machines: Machines | Processes) -> None:
        self._machines = machines
        self.jobs: dict[str, dict[str, Any]] = {}
        self.cancelled: set[str] = set()
        self.refuse: tuple[int, str, str] | None = None
        self.ended: tuple[dict[str, Any], dict[str, Any]] | None = None
        base = "/v2/projects/{project}/locations/{region}/jobs"
        self.app = Starlette(
            routes=[
                Route(base, self._create, methods=["POST"]),
                Route(base, self._list),
                Route(f"{base}/{{job}}", self._get),
                Route(f"{base}/{{job}}", self._delete, methods=["DELETE"]),
                Route(f"{base}/{{job}}/executions", self._executions),
                Route(f"{base}/{{job}}/executions/{{execution}}:cancel", self._cancel, methods=["POST"]),
                Route(f"{base}/{{job}}/executions/{{execution}}/tasks", self._tasks),
                Route("/v2/entries:list", self._entries, methods=["POST"]),
            ]
        )

    async def _create(self, request: Request) -> Response:
        job, id = (
            valid("cloud_run", "GoogleCloudRunV2Job", await request.json()),
            request.query_params["jobId"],
        )
        if self.refuse is not None:
            return refusal(*self.refuse)
        if id in self.jobs:
            return refusal(409, "ALREADY_EXISTS", f"Resource '{id}' already exists.")
        assert len(id) + len(job["startExecutionToken"]) < 63
        (container,) = job["template"]["template"]["containers"]
        if self.ended is None:
            env = {one["name"]: one["value"] for one in container["env"]}
            memory = int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
            await self._machines.start(id, [*container["command"], *container["args"]], env, memory)
        self.jobs[id] = {**job, "name": f"{request.url.path.partition('/v2/')[2]}/{id}"}
        return operation(id)

    async def _list(self, request: Request) -> Response:
        return held("ListJobsResponse", {"jobs": [*self.jobs.values()]})

    async def _get(self, request: Request) -> Response:
        id = request.path_params["job"]
        return (
            held("Job", self.jobs[id]) if id in self.jobs else refusal(404, "NOT_FOUND", f"'{id}' not found")
        )

    async def _delete(self, request: Request) -> Response:
        id = request.path_params["job"]
        if id in self.jobs and not self._done(id):
            return refusal(400, "FAILED_PRECONDITION", "the job has a running execution")
        return operation(id) if self.jobs.pop(id, None) else refusal(404, "NOT_FOUND", f"'{id}' not found")

    async def _executions(self, request: Request) -> Response:
        id = request.path_params["job"]
        if id not in self.jobs:
            return refusal(404, "NOT_FOUND", f"'{id}' not found")
        found: dict[str, Any] = {
            "name": f"{self.jobs[id]['name']}/executions/{id}-run",
            "job": id,
            "taskCount": 1,
        }
        if self.ended is not None:
            found |= self.ended[0]
        elif self._done(id):
            end = self._machines.end(id)
            count = (
                "cancelledCount"
                if id in self.cancelled
                else "failedCount"
                if end and end.code
                else "succeededCount"
            )
            found |= {count: 1, "completionTime": "2030-01-01T00:00:00Z"}
        return held("ListExecutionsResponse", {"executions": [found]})

    async def _cancel(self, request: Request) -> Response:
        id = request.path_params["job"]
        if id not in self.jobs:
            return refusal(404, "NOT_FOUND", f"'{id}' not found")
        self.cancelled.add(id)
        await self._machines.kill(id)
        return operation(id)

    async def _tasks(self, request: Request) -> Response:
        id = request.path_params["job"]
        result = self.ended[1] if self.ended is not None else {}
        if self.ended is None and (end := self._machines.end(id)) is not None:
            result = {"exitCode": end.code}
        return held("ListTasksResponse", {"tasks": [{"index": 0, "lastAttemptResult": result}]})

    async def _entries(self, request: Request) -> Response:
        job = (await request.json())["filter"].split('job_name="')[1].rstrip('"')
        end = self._machines.end(job) if self.ended is None else None
        lines = end.output.splitlines() if end is not None else []
        return JSONResponse({"entries": [{"textPayload": line} for line in reversed(lines)]})

    def _done(self, id: str) -> bool:
        return self.ended is not None or self._machines.end(id) is not None
