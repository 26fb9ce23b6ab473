"""Sandboxes as instances of Amazon EC2: a machine for each task. The extra `aws` brings the vendor's client."""

from remote_claude.runner.providers.clouds import CloudProvider
from remote_claude.runner.providers.ec2.cloud import Ec2Cloud
from remote_claude.runner.providers.ec2.settings import Ec2Settings
from remote_claude.runner.providers.settings import ProviderSettings

__all__ = ["Ec2Cloud", "Ec2Settings", "create"]


def create(settings: ProviderSettings) -> CloudProvider:
    """For the entry point `ec2`."""
    return CloudProvider(settings.runner, Ec2Cloud(settings.runner, Ec2Settings.from_environment()))
