"""Where the codespaces of the provider `codespaces` are made."""

from pydantic_settings import SettingsConfigDict

from remote_claude.runtime.settings import Settings


class CodespacesSettings(Settings):
    """Each field is read from `RCLAUDE_RUNNER_CODESPACES_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="RCLAUDE_RUNNER_CODESPACES_", frozen=True, extra="ignore")

    token: str = ""
    """A person's token with the permission `codespaces` (a classic one: the scope `codespace`). `GITHUB_TOKEN` unless set."""
    repository: str = ""
    """OWNER/NAME of the repository that was made from `deploy/codespaces`, and holds nothing else."""
    ref: str | None = None
    """Its branch; the default one unless set."""
    geo: str | None = None
    """`EuropeWest`, `SoutheastAsia`, `UsEast` or `UsWest`; the nearest unless set."""
    api: str = "https://api.github.com"
    ports: str = "https://{name}-{port}.app.github.dev"
    """Where GitHub forwards a codespace's private ports."""
    start_s: float = 300.0
    """How long a codespace may take to start."""
    poll_s: float = 5.0
    """Seconds between two looks at the codespaces."""
