"""Where the Machines of the provider `fly` run."""

from pydantic_settings import SettingsConfigDict

from remote_claude.runtime.settings import Settings


class FlySettings(Settings):
    """Each field is read from `RCLAUDE_RUNNER_FLY_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="RCLAUDE_RUNNER_FLY_", frozen=True, extra="ignore")

    token: str = ""
    """A deploy token of the app: `fly tokens create deploy`. `FLY_API_TOKEN` unless set."""
    app: str = "remote-claude-tasks"
    """An app of its own, on a network of its own: the Machines of one network see each other."""
    region: str | None = None
    """Such as `fra`; the nearest unless set."""
    image: str = "registry.fly.io/remote-claude-tasks:worker"
    """Of the sandboxes; a task may name another."""
    api: str = "https://api.machines.dev"
    logs_api: str = "https://api.fly.io"
    poll_s: float = 3.0
    """Seconds between two looks at the Machines."""
