"""Sandboxes as Jobs of Kubernetes, over its HTTPS API."""

from remote_claude.runner.providers.clouds import CloudProvider
from remote_claude.runner.providers.kubernetes.cloud import KubernetesCloud
from remote_claude.runner.providers.kubernetes.settings import KubernetesSettings
from remote_claude.runner.providers.settings import ProviderSettings

__all__ = ["KubernetesCloud", "KubernetesSettings", "create"]


def create(settings: ProviderSettings) -> CloudProvider:
    """For the entry point `kubernetes`."""
    return CloudProvider(
        settings.runner, KubernetesCloud(settings.runner, KubernetesSettings.from_environment())
    )
