"""Where the tasks of the provider `ecs` run."""

from typing import Literal

from pydantic_settings import SettingsConfigDict

from remote_claude.runtime.settings import Settings


class EcsSettings(Settings):
    """Each field is read from `RCLAUDE_RUNNER_ECS_<FIELD>`. Credentials are found as AWS's own tools find them."""

    model_config = SettingsConfigDict(env_prefix="RCLAUDE_RUNNER_ECS_", frozen=True, extra="ignore")

    region: str | None = None
    """AWS's own configuration unless set."""
    profile: str | None = None
    """A profile of AWS's own configuration."""
    cluster: str = "remote-claude"
    task_definition: str = "remote-claude-worker"
    """Its first container is the worker: an image whose entry point runs its command."""
    subnets: str = ""
    """Ids, separated by commas. Without any, the task definition's network mode is not `awsvpc`."""
    security_groups: str = ""
    """Ids, separated by commas."""
    public_ip: bool = False
    """Needed in a public subnet, to reach the gateway and the image."""
    capacity: Literal["FARGATE", "FARGATE_SPOT", "EC2"] = "FARGATE"
    poll_s: float = 2.0
    """Seconds between two looks at the tasks that run."""
