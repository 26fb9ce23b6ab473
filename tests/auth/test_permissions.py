"""Every route of every service stands in the table of permissions, exactly once."""

import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute, APIWebSocketRoute

from remote_claude.access import permissions_page
from remote_claude.access.permissions import PERMISSIONS, PERSONAL, PUBLIC
from remote_claude.access.scopes import SCOPES
from remote_claude.edge.caller import caller, identity
from remote_claude.runtime.host import connected, installed
from remote_claude.runtime.http.server import application
from remote_claude.runtime.purpose import Purpose
from remote_claude.runtime.settings import RuntimeSettings
from remote_claude.runtime.telemetry.logs_and_metrics import Metrics

OPEN_TO_MONITORING = {"healthz", "readyz", "scrape", "openapi_document"}


def routes(*routers: APIRouter) -> dict[str, Any]:
    """Name to route."""
    return {
        r.name: r for router in routers for r in router.routes if isinstance(r, APIRoute | APIWebSocketRoute)
    }


async def test_every_operation_is_in_the_table(settings: RuntimeSettings) -> None:
    async with connected(settings, {}, Metrics("permissions"), Purpose.MAINTAIN) as runtime:
        services = [build(runtime) for build in installed()]
        app = application(runtime, services, Metrics("permissions"))
        found = routes(app.router, *(service.router for service in services if service.router is not None))
    declared = [*PERMISSIONS, *PERSONAL, *PUBLIC]
    assert len(declared) == len(set(declared)), "an operation stands in the table once"
    assert set(found) - OPEN_TO_MONITORING == set(declared)
    for name, route in found.items():
        if not isinstance(route, APIRoute) or name in OPEN_TO_MONITORING | {"submit_task"}:
            continue  # the submission asks by itself: the hot path
        called = {dependency.call for dependency in route.dependant.dependencies}
        assert (caller in called) == (name in PERMISSIONS), name
        assert (identity in called) == (name in PERSONAL), name


def test_every_scope_of_the_table_is_one() -> None:
    needed = {p.scope for p in PERMISSIONS.values()} | {s for s in PERSONAL.values() if s is not None}
    assert needed <= SCOPES.keys()
    assert all(re.fullmatch("[a-z_]+", name) for name in PERMISSIONS)


def test_the_page_says_what_the_table_does() -> None:
    written = (Path(__file__).parents[2] / "docs/reference/permissions.md").read_text()
    assert written == permissions_page.page(), "run `make docs`"
