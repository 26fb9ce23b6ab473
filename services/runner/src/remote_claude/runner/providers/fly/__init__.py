"""Sandboxes as Fly Machines: each a micro-VM of its own, over Fly's HTTPS API."""

import os

from remote_claude.runner.providers.clouds import CloudProvider
from remote_claude.runner.providers.fly.cloud import FlyCloud
from remote_claude.runner.providers.fly.settings import FlySettings
from remote_claude.runner.providers.settings import ProviderSettings

__all__ = ["FlyCloud", "FlySettings", "create"]


def create(settings: ProviderSettings) -> CloudProvider:
    """For the entry point `fly`."""
    given = FlySettings.from_environment()
    if not given.token:
        given = given.model_copy(update={"token": os.environ.get("FLY_API_TOKEN", "")})
    return CloudProvider(settings.runner, FlyCloud(settings.runner, given))
