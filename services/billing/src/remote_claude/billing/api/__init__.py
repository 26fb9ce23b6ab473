"""What billing answers over HTTP."""

from __future__ import annotations

from fastapi import APIRouter

from remote_claude.billing.api import usage
from remote_claude.billing.projections.usage import UsageView
from remote_claude.edge.freshness import Freshness
from remote_claude.runtime.service import Runtime


def router(runtime: Runtime) -> APIRouter:
    """The routes of billing."""
    api = APIRouter(prefix="/v1", tags=["billing"])
    fresh = Freshness(runtime.tail, lambda: runtime.projectors[UsageView.name])
    usage.add_routes(api, runtime, fresh)
    return api
