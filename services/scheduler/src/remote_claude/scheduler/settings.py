"""The settings of the scheduler."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from remote_claude.runtime.settings import Settings


class SchedulerSettings(Settings):
    """Each field is read from `RCLAUDE_SCHEDULER_<FIELD>`; times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="RCLAUDE_SCHEDULER_", frozen=True, extra="ignore")

    lease_s: int = Field(default=15, ge=1)
    """A runner that was not renewed for so long stops what it runs."""
    grace_s: float = Field(default=5.0, ge=0)
    """How much longer than a lease the scheduler waits before it gives an attempt to another runner."""
    tick_s: float = Field(default=1.0, gt=0)
    """How often leases and deadlines are looked at."""
    decline_pause_s: float = Field(default=1.0, ge=0)
    """How long a runner that has declined gets no work."""
    forget_runner_s: float = Field(default=3600.0, gt=0)
    """A runner that holds nothing and has not renewed for so long is forgotten."""
    snapshot_interval_s: float = Field(default=60.0, gt=0)
    snapshot_events: int = Field(default=10_000, ge=1)
    """A snapshot is taken after this time or this many events, whichever comes first."""
