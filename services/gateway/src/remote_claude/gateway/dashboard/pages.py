"""Serves the page and its files: compressed ahead of time, files with a hash in their names for ever, nothing inline."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse

STATIC = Path(__file__).parent / "static"
PLACES = ("new", "tasks", "batches", "compare", "usage", "settings", "installation", "join", "shared")
"""First segments of the page's own addresses: a link to one of them is answered with the page."""

ASSET = re.compile(r"[\w-]+\.[a-z]+", re.ASCII)
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
}
ENCODINGS = (("br", ".br"), ("gzip", ".gz"))
REFUSED = ("q=0", "q=0.0", "q=0.00", "q=0.000")
FOR_EVER = "public, max-age=31536000, immutable"
CHECKED = "no-cache"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def add_routes(api: APIRouter) -> None:
    """The routes `/`, those of the page's places, and `/assets`. They need no credential, and hold nobody's data."""

    async def page(request: Request) -> Response:
        return _file(request, STATIC / "index.html", CHECKED)

    async def icon(request: Request) -> Response:
        return _file(request, STATIC / "favicon.svg", CHECKED)

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if ASSET.fullmatch(name) is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return _file(request, STATIC / "assets" / name, FOR_EVER)

    api.add_route("/", page, include_in_schema=False)
    api.add_route("/favicon.svg", icon, include_in_schema=False)
    api.add_route("/assets/{name}", asset, include_in_schema=False)
    for place in PLACES:
        api.add_route(f"/{place}", page, include_in_schema=False)
        api.add_route(f"/{place}/{{rest:path}}", page, include_in_schema=False)


def _file(request: Request, path: Path, caching: str) -> Response:
    """A file, in the best encoding that the client takes. Raises `HTTPException`: there is none."""
    kind = TYPES.get(path.suffix)
    if kind is None or not path.is_file():
        raise HTTPException(HTTPStatus.NOT_FOUND)
    headers = {**HEADERS, "Cache-Control": caching, "Vary": "Accept-Encoding"}
    offers = request.headers.get("accept-encoding", "").replace(" ", "").split(",")
    accepted = {
        name for name, _, weight in (offer.partition(";") for offer in offers) if weight not in REFUSED
    }
    for encoding, suffix in ENCODINGS:
        encoded = path.with_name(path.name + suffix)
        if encoding in accepted and encoded.is_file():
            return FileResponse(encoded, media_type=kind, headers=headers | {"Content-Encoding": encoding})
    return FileResponse(path, media_type=kind, headers=headers)
