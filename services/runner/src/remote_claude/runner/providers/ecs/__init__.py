"""Sandboxes as tasks of Amazon ECS. The vendor's client is imported at the first use: the extra `aws` brings it."""

from remote_claude.runner.providers.clouds import CloudProvider
from remote_claude.runner.providers.ecs.cloud import EcsCloud
from remote_claude.runner.providers.ecs.settings import EcsSettings
from remote_claude.runner.providers.settings import ProviderSettings

__all__ = ["EcsCloud", "EcsSettings", "create"]


def create(settings: ProviderSettings) -> CloudProvider:
    """For the entry point `ecs`."""
    return CloudProvider(settings.runner, EcsCloud(settings.runner, EcsSettings.from_environment()))
