"""Sandboxes as tasks of Amazon ECS. The vendor's client is imported at the first use: the extra `aws` brings it."""

from remote_claude.runner.providers.ecs.provider import EcsProvider
from remote_claude.runner.providers.ecs.settings import EcsSettings
from remote_claude.runner.providers.settings import ProviderSettings

__all__ = ["EcsProvider", "EcsSettings", "create"]


def create(settings: ProviderSettings) -> EcsProvider:
    """For the entry point `ecs`."""
    return EcsProvider(settings.runner, EcsSettings.from_environment())
