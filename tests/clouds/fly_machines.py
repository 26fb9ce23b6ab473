"""A double of Fly's Machines API and of its logs, held against the vendor's description."""

from __future__ import annotations

from itertools import count
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clouds.described import valid
from clouds.machines import Machines, Processes


def refusal(code: int, message: str) -> Response:
    return JSONResponse(valid("fly", "ErrorResponse", {"error": message}), code)


class Fly:
    """`refuse` answers the next creation; `exit_event`, with the state, is what Machines show in place of their own end."""

    def __init__(self, machines: Machines | Processes) -> None:
        self._sandboxes, self._ids = machines, count(1)
        self.machines: dict[str, dict[str, Any]] = {}
        self.apps: dict[str, dict[str, Any]] = {}
        self.tokens: set[str] = set()
        self.refuse: tuple[int, str] | None = None
        self.exit_event: dict[str, Any] | None = None
        base = "/v1/apps/{app}/machines"
        self.app = Starlette(
            routes=[
                Route("/v1/apps", self._create_app, methods=["POST"]),
                Route("/v1/apps", self._list_apps),
                Route("/v1/apps/{app}", self._get_app),
                Route("/v1/apps/{app}", self._delete_app, methods=["DELETE"]),
                Route(base, self._create, methods=["POST"]),
                Route(base, self._list),
                Route(f"{base}/{{id}}", self._get),
                Route(f"{base}/{{id}}", self._destroy, methods=["DELETE"]),
                Route("/api/v1/apps/{app}/logs", self._logs),
            ]
        )

    async def _create_app(self, request: Request) -> Response:
        asked = valid("fly", "CreateAppRequest", await request.json())
        self.tokens.add(request.headers["authorization"])
        if asked["app_name"] in self.apps:
            return refusal(422, "Name has already been taken")
        self.apps[asked["app_name"]] = {"name": asked["app_name"], "status": "pending"}
        self.apps[asked["app_name"]]["organization"] = {"name": "Ada", "slug": asked["org_slug"]}
        return JSONResponse({"id": asked["app_name"], "created_at": 1}, 201)

    async def _list_apps(self, request: Request) -> Response:
        if request.headers["authorization"] != "Bearer made-up-token-of-fly":
            return refusal(401, "unauthenticated")
        shown = [{"name": name, "machine_count": len(self.machines)} for name in self.apps]
        return JSONResponse(valid("fly", "ListAppsResponse", {"apps": shown, "total_apps": len(shown)}))

    async def _get_app(self, request: Request) -> Response:
        app = self.apps.get(request.path_params["app"])
        return JSONResponse(valid("fly", "App", app)) if app else refusal(404, "App not found")

    async def _delete_app(self, request: Request) -> Response:
        if self.apps.pop(request.path_params["app"], None) is None:
            return refusal(404, "App not found")
        for id in [*self.machines]:
            await self._sandboxes.kill(id)
            del self.machines[id]
        return Response(status_code=202)

    async def _create(self, request: Request) -> Response:
        asked = valid("fly", "CreateMachineRequest", await request.json())
        if self.refuse is not None:
            return refusal(*self.refuse)
        if any(m["name"] == asked["name"] for m in self.machines.values()):
            return refusal(422, f"unique name violation: {asked['name']} already exists in the app")
        id, config = f"{next(self._ids):014x}", asked["config"]
        if self.exit_event is None:
            await self._sandboxes.start(
                id, config["init"]["exec"], config["env"], config["guest"]["memory_mb"]
            )
        self.machines[id] = {
            "id": id,
            "name": asked["name"],
            "region": asked.get("region", "fra"),
            "config": config,
        }
        return JSONResponse(self._shown(id))

    async def _list(self, request: Request) -> Response:
        wanted = {key.removeprefix("metadata."): value for key, value in request.query_params.items()}
        return JSONResponse(
            [
                {key: value for key, value in self._shown(id).items() if key != "events"}
                for id, machine in self.machines.items()
                if wanted.items() <= machine["config"]["metadata"].items()
            ]
        )

    async def _get(self, request: Request) -> Response:
        id = request.path_params["id"]
        return JSONResponse(self._shown(id)) if id in self.machines else refusal(404, "machine not found")

    async def _destroy(self, request: Request) -> Response:
        id = request.path_params["id"]
        if id in self.machines and self.exit_event is None:
            assert request.query_params["force"] == "true" or self._sandboxes.end(id) is not None
            await self._sandboxes.kill(id)
        return (
            JSONResponse({"ok": True}) if self.machines.pop(id, None) else refusal(404, "machine not found")
        )

    async def _logs(self, request: Request) -> Response:
        end = self._sandboxes.end(request.query_params["instance"]) if self.exit_event is None else None
        lines = end.output.splitlines() if end is not None else []
        return JSONResponse({"data": [{"attributes": {"message": line}} for line in lines]})

    def _shown(self, id: str) -> dict[str, Any]:
        event = self.exit_event
        if event is None and (end := self._sandboxes.end(id)) is not None:
            event = {"exit_code": end.code, "signal": -1, "oom_killed": False, "requested_stop": False}
        events = [{"type": "launch", "status": "created", "source": "user", "timestamp": 1}]
        if event:
            said = {"exit_event": event}
            events.append(
                {"type": "exit", "status": "stopped", "source": "flyd", "timestamp": 2, "request": said}
            )
        state = "started" if event is None else "stopped" if event else "failed"
        return dict(valid("fly", "Machine", {**self.machines[id], "state": state, "events": events}))
