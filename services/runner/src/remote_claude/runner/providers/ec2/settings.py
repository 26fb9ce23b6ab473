"""Where the instances of the provider `ec2` run."""

from pydantic_settings import SettingsConfigDict

from remote_claude.runtime.settings import Settings


class Ec2Settings(Settings):
    """Each field is read from `RCLAUDE_RUNNER_EC2_<FIELD>`. Credentials are found as AWS's own tools find them."""

    model_config = SettingsConfigDict(env_prefix="RCLAUDE_RUNNER_EC2_", frozen=True, extra="ignore")

    region: str | None = None
    """AWS's own configuration unless set."""
    profile: str | None = None
    """A profile of AWS's own configuration."""
    ami: str = ""
    """A Linux image, x86-64, with cloud-init and a Docker engine that runs at boot."""
    root_device: str = "/dev/xvda"
    """Of that image."""
    image: str = "remote-claude/worker"
    """The worker's image, which an instance can pull without credentials; a task may name another."""
    subnet: str | None = None
    """The default VPC unless set."""
    security_group: str | None = None
    spot: bool = False
    """Cheaper instances, which AWS may take back two minutes after it says so."""
    poll_s: float = 3.0
    """Seconds between two looks at the instances."""
