"""Where the executions of the provider `cloud_run` run."""

from pydantic_settings import SettingsConfigDict

from remote_claude.runtime.settings import Settings


class CloudRunSettings(Settings):
    """Each field is read from `RCLAUDE_RUNNER_CLOUD_RUN_<FIELD>`. Credentials are Google's application default ones."""

    model_config = SettingsConfigDict(env_prefix="RCLAUDE_RUNNER_CLOUD_RUN_", frozen=True, extra="ignore")

    project: str = ""
    """Its id; that of the credentials unless set."""
    region: str = "europe-west1"
    image: str = ""
    """Of the sandboxes, in Artifact Registry; a task may name another."""
    service_account: str | None = None
    """An account without rights: what runs inside can become it by the metadata server."""
    network: str | None = None
    """A VPC network; without one executions reach the internet only."""
    subnet: str | None = None
    api: str = "https://run.googleapis.com"
    logging_api: str = "https://logging.googleapis.com"
    poll_s: float = 3.0
    """Seconds between two looks at the jobs."""
