"""A proxy between a runner and the Docker engine: it passes on what the provider `docker` needs, and nothing more.

An engine's socket is root on its machine. This process holds the socket; the runner holds this process's own one. A
container is created only in the provider's shape: unprivileged, on a read-only image, without a host folder but the
runner's socket. Every other request is about a container that has the provider's label, or is refused with 403.

    python -m remote_claude.runner.providers.docker_proxy --listen /run/engine/docker.sock --sockets /run/remote-claude
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, UnixConnector, web

from remote_claude.runner.providers.docker import NAME, RUNNER, SOCKET, USER

MAX_BODY = 256 * 1024
_VERSION = re.compile(r"^/v\d+\.\d+(?=/)")
_CONTAINER = re.compile(r"^/containers/([0-9a-zA-Z][0-9a-zA-Z_.-]*)(?:/(json|start|wait|logs|stats|kill))?$")
_METHODS = {
    None: "DELETE", "json": "GET", "logs": "GET", "stats": "GET", "start": "POST", "wait": "POST", "kill": "POST",
}  # fmt: skip
_IMAGE = re.compile(r"^/images/[\w./:@-]+/json$")
_BODY = frozenset(
    {"Image", "Entrypoint", "Cmd", "Env", "User", "WorkingDir", "Hostname", "Labels", "HostConfig"}
)
_FIXED = {
    "ReadonlyRootfs": True,
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges"],
    "IpcMode": "private",
    "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}},
}
_LIMITS = frozenset({"PidsLimit", "Memory", "MemorySwap", "NanoCpus", "ShmSize"})
_FREE = frozenset({"OomScoreAdj", "Ulimits", "Tmpfs"})
_CHOSEN = frozenset({"NetworkMode", "Binds", "Runtime"})


def refusal_of_create(
    body: Mapping[str, Any], *, sockets: Path, network: str, runtime: str | None
) -> str | None:
    """Why a container with this configuration may not be created; None if it may.

    `sockets` is the folder with the runner's socket; `network` and `runtime` are the only ones allowed.
    """
    if unknown := sorted(set(body) - _BODY):
        return f"a sandbox may not set {', '.join(unknown)}"
    if body.get("User") != f"{USER}:{USER}":
        return f"a sandbox runs as user {USER}:{USER}"
    if not {RUNNER, NAME} <= set(body.get("Labels") or {}):
        return f"a sandbox needs the labels {RUNNER} and {NAME}"
    host = body.get("HostConfig") or {}
    if unknown := sorted(set(host) - set(_FIXED) - _LIMITS - _FREE - _CHOSEN):
        return f"a sandbox may not set HostConfig.{', '.join(unknown)}"
    for name, value in _FIXED.items():
        if host.get(name) != value:
            return f"a sandbox needs HostConfig.{name} = {json.dumps(value)}"
    for name in sorted(_LIMITS):
        if not isinstance(host.get(name), int) or host[name] <= 0:
            return f"a sandbox needs a limit in HostConfig.{name}"
    if host.get("NetworkMode") != network:
        return f"a sandbox may use the network {network} only"
    if host.get("Runtime", runtime) != runtime:
        return f"a sandbox may use the runtime {runtime or 'of the engine'} only"
    return next((why for bind in host.get("Binds") or [] if (why := _refusal_of_bind(bind, sockets))), None)


def _refusal_of_bind(bind: str, sockets: Path) -> str | None:
    source, _, target = bind.partition(":")
    path = Path(source)
    inside = path.is_absolute() and path == Path(os.path.realpath(path)) and path.is_relative_to(sockets)
    if target != f"{SOCKET}:ro" or not inside:
        return (
            f"a sandbox may have a socket in {sockets} bound into it, read-only at {SOCKET}, and nothing more"
        )
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return f"{source} is not a socket"
    return None


class DockerProxy:
    """Answers the provider's requests with those of the engine at the unix socket `engine`."""

    def __init__(self, engine: Path, *, sockets: Path, network: str, runtime: str | None) -> None:
        self._sockets, self._network, self._runtime = sockets, network, runtime
        self._client = ClientSession(
            connector=UnixConnector(str(engine), limit=0), timeout=ClientTimeout(), auto_decompress=False
        )

    async def close(self) -> None:
        await self._client.close()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Pass the request on, or refuse it."""
        path = _VERSION.sub("", request.path)
        body = await request.read()
        try:
            if why := await self._refusal(request, path, body):
                return web.json_response({"message": f"refused by the proxy: {why}"}, status=403)
            return await self._pass_on(request, body)
        except (ClientError, OSError) as error:
            return web.json_response({"message": f"the engine does not answer: {error}"}, status=502)

    async def _refusal(self, request: web.Request, path: str, body: bytes) -> str | None:
        match request.method, path:
            case "GET", "/version" | "/info" | "/_ping":
                return None
            case "GET", _ if _IMAGE.match(path):
                return None
            case "POST", "/images/create":
                return (
                    None if set(request.query) <= {"fromImage", "tag"} else "only pulls of images are allowed"
                )
            case "GET", "/containers/json":
                return _refusal_of_list(request.query.get("filters", ""))
            case "POST", "/containers/create":
                if not request.query.get("name", "").startswith("rclaude-"):
                    return "the name of a sandbox begins with rclaude-"
                try:
                    given = json.loads(body)
                except ValueError:
                    given = None
                if not isinstance(given, dict):
                    return "the body is not a JSON object"
                return refusal_of_create(
                    given, sockets=self._sockets, network=self._network, runtime=self._runtime
                )
        found = _CONTAINER.match(path)
        if found is None or _METHODS[found[2]] != request.method:
            return f"{request.method} {path} is not allowed"
        return await self._refusal_of_container(found[1])

    async def _refusal_of_container(self, id: str) -> str | None:
        async with self._client.get(f"http://docker/containers/{id}/json") as answer:
            if answer.status == 404:
                return None  # the engine says so itself
            labels = (await answer.json()).get("Config", {}).get("Labels") or {}
        return None if RUNNER in labels else "this container is not a sandbox"

    async def _pass_on(self, request: web.Request, body: bytes) -> web.StreamResponse:
        headers = {"Content-Type": request.headers["Content-Type"]} if body else {}
        async with self._client.request(
            request.method, f"http://docker{request.raw_path}", data=body or None, headers=headers
        ) as answer:
            response = web.StreamResponse(
                status=answer.status,
                headers={"Content-Type": answer.headers.get("Content-Type", "application/octet-stream")},
            )
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response


def _refusal_of_list(filters: str) -> str | None:
    try:
        labels = json.loads(filters or "{}").get("label", [])
    except (ValueError, AttributeError):
        labels = []
    if any(str(label).startswith(f"{RUNNER}=") for label in labels):
        return None
    return f"containers are listed by the label {RUNNER} only"


async def serve(proxy: DockerProxy, listen: Path, *, owner: int | None = None) -> web.AppRunner:
    """Listen on the unix socket `listen`, which then belongs to user `owner`. The caller ends it with `cleanup`."""
    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_route("*", "/{path:.*}", proxy.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.UnixSite(runner, str(listen)).start()
    os.chmod(listen, 0o660)
    if owner is not None:
        os.chown(listen, owner, -1)
    return runner


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--engine", type=Path, default=Path("/var/run/docker.sock"), help="the engine's socket"
    )
    parser.add_argument("--listen", type=Path, required=True, help="the proxy's own socket")
    parser.add_argument("--sockets", type=Path, required=True, help="the folder with the runner's socket")
    parser.add_argument("--network", default="none", help="the only network of sandboxes")
    parser.add_argument("--runtime", default=None, help="the only runtime of sandboxes, such as runsc")
    parser.add_argument("--owner", type=int, default=None, help="the user that may connect")
    given = parser.parse_args()
    proxy = DockerProxy(
        given.engine, sockets=given.sockets, network=given.network, runtime=given.runtime or None
    )
    running = await serve(proxy, given.listen, owner=given.owner)
    try:
        await asyncio.Event().wait()
    finally:
        await running.cleanup()
        await proxy.close()


if __name__ == "__main__":
    asyncio.run(_main())
