"""Where the container groups of the provider `container_instances` run."""

from pydantic_settings import SettingsConfigDict

from remote_claude.runtime.settings import Settings


class ContainerInstancesSettings(Settings):
    """Each field is read from `RCLAUDE_RUNNER_CONTAINER_INSTANCES_<FIELD>`. Credentials are found by Azure's own library."""

    model_config = SettingsConfigDict(
        env_prefix="RCLAUDE_RUNNER_CONTAINER_INSTANCES_", frozen=True, extra="ignore"
    )

    subscription: str = ""
    resource_group: str = "remote-claude-tasks"
    """One for tasks alone."""
    location: str = "westeurope"
    image: str = ""
    """Of the sandboxes; a task may name another."""
    registry_server: str | None = None
    """Of the image, where it takes a password to pull."""
    registry_username: str = ""
    registry_password: str = ""
    subnet: str | None = None
    """The id of a subnet; without one a group reaches the internet."""
    api: str = "https://management.azure.com"
    poll_s: float = 5.0
    """Seconds between two looks at the groups."""
