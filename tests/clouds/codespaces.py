"""A double of GitHub's Codespaces API and of its forwarded ports, held against GitHub's own OpenAPI document."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Host, Route, Router

from clouds.described import valid
from clouds.machines import Machines, Processes

EXAMPLE = json.loads((Path(__file__).parent / "schemas/codespaces.json").read_text())["example"]
MACHINES = [
    valid(
        "codespaces",
        "codespace-machine",
        {
            "name": name,
            "display_name": name,
            "operating_system": "linux",
            "storage_in_bytes": 32 << 30,
            "memory_in_bytes": gib << 30,
            "cpus": cpus,
            "prebuild_availability": "ready",
        },
    )
    for name, cpus, gib in (("standardLinux32gb", 4, 16), ("basicLinux32gb", 2, 8))
]


def refusal(code: int, message: str) -> Response:
    return JSONResponse(valid("codespaces", "basic-error", {"message": message}), code)


class Codespaces:
    """`refuse` answers the next creation; `state`, if set, is what every codespace shows."""

    def __init__(self, machines: Machines | Processes) -> None:
        self._sandboxes, self._ids = machines, count(1)
        self.codespaces: dict[str, dict[str, Any]] = {}
        self._given: dict[str, dict[str, Any]] = {}
        self.refuse: tuple[int, str] | None = None
        self.state: str | None = None
        base = "/repos/{owner}/{repository}/codespaces"
        self.github = Router(
            routes=[
                Route(base, self._create, methods=["POST"]),
                Route(base, self._list),
                Route(f"{base}/machines", self._machines),
                Route("/user/codespaces/{name}", self._get),
                Route("/user/codespaces/{name}", self._delete, methods=["DELETE"]),
            ]
        )
        self.port = Router(routes=[Route("/", self._give, methods=["POST"]), Route("/", self._status)])
        self.app = Starlette(
            routes=[Host("api.github.com", self.github), Host("{name}-8377.app.github.dev", self.port)]
        )

    async def _create(self, request: Request) -> Response:
        asked = valid("codespaces", "CreateCodespace", await request.json())
        if self.refuse is not None:
            return refusal(*self.refuse)
        assert len(asked["display_name"]) <= 48
        (machine,) = (one for one in MACHINES if one["name"] == asked["machine"])
        name = f"made-up-{next(self._ids)}"
        self.codespaces[name] = {
            **EXAMPLE,
            "name": name,
            "display_name": asked["display_name"],
            "machine": machine,
        }
        self.codespaces[name]["state"] = "Queued"
        return JSONResponse(self._shown(name), 201)

    async def _list(self, request: Request) -> Response:
        names = list(self.codespaces)
        first = (int(request.query_params["page"]) - 1) * int(request.query_params["per_page"])
        page = names[first : first + int(request.query_params["per_page"])]
        found = {"total_count": len(names), "codespaces": [self._shown(name) for name in page]}
        return JSONResponse(valid("codespaces", "ListCodespaces", found))

    async def _machines(self, request: Request) -> Response:
        found = {"total_count": len(MACHINES), "machines": MACHINES}
        return JSONResponse(valid("codespaces", "ListMachines", found))

    async def _get(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self.codespaces:
            return refusal(404, "Not Found")
        self.codespaces[name]["state"] = "Available"
        return JSONResponse(self._shown(name))

    async def _delete(self, request: Request) -> Response:
        name = request.path_params["name"]
        if self.codespaces.pop(name, None) is None:
            return refusal(404, "Not Found")
        if self._given.pop(name, None) is not None:
            await self._sandboxes.kill(name)
        return JSONResponse({}, 202)

    async def _give(self, request: Request) -> Response:
        """The launcher, on a machine of this machine's sandboxes."""
        assert request.headers["x-github-token"]
        name, given = request.path_params["name"], await request.json()
        if name in self._given:
            same = self._given[name]["id"] == given["id"]
            return JSONResponse({}, 200) if same else JSONResponse({"message": "given before"}, 409)
        memory = int(self.codespaces[name]["machine"]["memory_in_bytes"]) >> 20
        await self._sandboxes.start(name, given["command"], given["env"], memory)
        self._given[name] = given
        return JSONResponse({})

    async def _status(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._given:
            return JSONResponse({"message": "no command was given"}, 404)
        given, end = self._given[name], self._sandboxes.end(name)
        own = {key: given[key] for key in ("id", "runner", "name")}
        shown = {"output": end.output if end else "", "code": end.code if end else None}
        return JSONResponse({**own, **shown})

    def _shown(self, name: str) -> dict[str, Any]:
        one = self.codespaces[name]
        return dict(valid("codespaces", "codespace", {**one, "state": self.state or one["state"]}))
