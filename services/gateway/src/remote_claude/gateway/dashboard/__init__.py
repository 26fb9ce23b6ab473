"""The dashboard: a built page, served from this package's `static`. Its sources are in `services/gateway/web`."""

from remote_claude.gateway.dashboard.pages import add_routes

__all__ = ["add_routes"]
