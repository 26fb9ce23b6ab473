"""Sandboxes as jobs of Google Cloud Run, over its HTTPS API. The extra `gcp` brings what finds Google's credentials."""

from remote_claude.runner.providers.cloud_run.cloud import CloudRunCloud
from remote_claude.runner.providers.cloud_run.settings import CloudRunSettings
from remote_claude.runner.providers.clouds import CloudProvider
from remote_claude.runner.providers.settings import ProviderSettings

__all__ = ["CloudRunCloud", "CloudRunSettings", "create"]


def create(settings: ProviderSettings) -> CloudProvider:
    """For the entry point `cloud_run`."""
    return CloudProvider(settings.runner, CloudRunCloud(settings.runner, CloudRunSettings.from_environment()))
