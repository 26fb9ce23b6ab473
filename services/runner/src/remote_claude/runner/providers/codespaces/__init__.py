"""Sandboxes as GitHub Codespaces of one repository, which is made from `deploy/codespaces`."""

import os

from remote_claude.runner.providers.clouds import CloudProvider
from remote_claude.runner.providers.codespaces.cloud import CodespacesCloud
from remote_claude.runner.providers.codespaces.settings import CodespacesSettings
from remote_claude.runner.providers.settings import ProviderSettings

__all__ = ["CodespacesCloud", "CodespacesSettings", "create"]


def create(settings: ProviderSettings) -> CloudProvider:
    """For the entry point `codespaces`."""
    given = CodespacesSettings.from_environment()
    if not given.token:
        given = given.model_copy(update={"token": os.environ.get("GITHUB_TOKEN", "")})
    return CloudProvider(settings.runner, CodespacesCloud(settings.runner, given))
