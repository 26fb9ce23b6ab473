"""Sandboxes on this machine, by bubblewrap and control groups."""

from remote_claude.runner.providers.local.provider import HomeBusy, Isolation, LocalProvider, create

__all__ = ["HomeBusy", "Isolation", "LocalProvider", "create"]
