"""Sandboxes as Azure Container Instances, over Azure's HTTPS API. The extra `azure` brings what finds its credentials."""

from remote_claude.runner.providers.clouds import CloudProvider
from remote_claude.runner.providers.container_instances.cloud import ContainerInstancesCloud
from remote_claude.runner.providers.container_instances.settings import ContainerInstancesSettings
from remote_claude.runner.providers.settings import ProviderSettings

__all__ = ["ContainerInstancesCloud", "ContainerInstancesSettings", "create"]


def create(settings: ProviderSettings) -> CloudProvider:
    """For the entry point `container_instances`."""
    given = ContainerInstancesSettings.from_environment()
    return CloudProvider(settings.runner, ContainerInstancesCloud(settings.runner, given))
