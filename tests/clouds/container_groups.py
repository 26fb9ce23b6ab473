"""A double of Azure Container Instances, held against the models that Azure publishes."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clouds.described import valid
from clouds.machines import Machines, Processes


def refusal(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)


MISSING = (404, "ResourceNotFound", "the resource was not found")


class ContainerGroups:
    """`refuse` answers the next creation; `ended` is what a group shows in place of its own state: of it, and of its container."""

    def __init__(self, machines: Machines | Processes) -> None:
        self._machines = machines
        self.groups: dict[str, dict[str, Any]] = {}
        self.refuse: tuple[int, str, str] | None = None
        self.ended: tuple[dict[str, Any], dict[str, Any]] | None = None
        base = "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.ContainerInstance/containerGroups"
        self.app = Starlette(
            routes=[
                Route(base, self._list),
                Route(f"{base}/{{name}}", self._get),
                Route(f"{base}/{{name}}", self._put, methods=["PUT"]),
                Route(f"{base}/{{name}}", self._delete, methods=["DELETE"]),
                Route(f"{base}/{{name}}/containers/worker/logs", self._logs),
            ]
        )

    async def _put(self, request: Request) -> Response:
        assert request.query_params["api-version"] == "2023-05-01"
        name, group = (
            request.path_params["name"],
            valid("container_instances", "ContainerGroup", await request.json()),
        )
        if self.refuse is not None:
            return refusal(*self.refuse)
        assert name not in self.groups, "this would change a group that exists"
        (container,) = group["properties"]["containers"]
        asked = container["properties"]
        if self.ended is None:
            env = {one["name"]: one["secureValue"] for one in asked["environmentVariables"]}
            memory = int(asked["resources"]["requests"]["memoryInGB"] * 1024)
            await self._machines.start(name, asked["command"], env, memory)
        asked["environmentVariables"] = [{"name": one["name"]} for one in asked["environmentVariables"]]
        self.groups[name] = {**group, "name": name}
        return JSONResponse(self._shown(name), 201)

    async def _get(self, request: Request) -> Response:
        name = request.path_params["name"]
        return JSONResponse(self._shown(name)) if name in self.groups else refusal(*MISSING)

    async def _list(self, request: Request) -> Response:
        answer = {"value": [*self.groups.values()]}
        return JSONResponse(valid("container_instances", "ContainerGroupListResult", answer))

    async def _delete(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name in self.groups and self.ended is None:
            await self._machines.kill(name)
        return JSONResponse({}) if self.groups.pop(name, None) else Response(status_code=204)

    async def _logs(self, request: Request) -> Response:
        name = request.path_params["name"]
        end = self._machines.end(name) if name in self.groups and self.ended is None else None
        return JSONResponse(
            valid("container_instances", "Logs", {"content": end.output if end is not None else ""})
        )

    def _shown(self, name: str) -> dict[str, Any]:
        group = self.groups[name]
        of_group, of_container = self.ended or ({"state": "Running"}, {"currentState": {"state": "Running"}})
        if self.ended is None and (end := self._machines.end(name)) is not None:
            of_group = {"state": "Succeeded" if end.code == 0 else "Failed"}
            detail = "Completed" if end.code == 0 else "Error"
            of_container = {
                "currentState": {"state": "Terminated", "exitCode": end.code, "detailStatus": detail}
            }
        (container,) = group["properties"]["containers"]
        shown = {**container, "properties": {**container["properties"], "instanceView": of_container}}
        properties = {**group["properties"], "containers": [shown], "instanceView": of_group}
        return dict(valid("container_instances", "ContainerGroup", {**group, "properties": properties}))
