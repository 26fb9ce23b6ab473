"""Settings of the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, Json, ValidationError

from remote_claude.runtime.settings import BadSettings

PREFIX = "RCLAUDE_GATEWAY_"


class GatewaySettings(BaseModel):
    """Each field is read from `RCLAUDE_GATEWAY_<FIELD>`; durations are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    admission_wait_s: float = Field(default=2, ge=0)
    """How long a submission waits for the scheduler's decision before it is answered with 202."""
    log_wait_s: float = Field(default=5, gt=0)
    """How long a request waits for the log to take what it says before it is answered with 503."""
    position_wait_s: float = Field(default=5, ge=0)
    """How long a read waits for `?min_position=`, and an open stream for output."""
    stale_after_s: float = Field(default=10, gt=0)
    """Reads are refused once the log has sent no heartbeat for so long."""
    max_bundle_mib: int = Field(default=512, ge=1)
    """The largest upload."""
    heartbeat_s: float = Field(default=5, gt=0)
    """How often an open stream gets a heartbeat."""
    ring_kib: int = Field(default=1024, ge=1)
    """How much of a task's latest output is kept in memory for those who watch it."""
    watcher_stall_s: float = Field(default=30, gt=0)
    """How long one write to a socket may take before it is closed as too slow."""
    webhook_timeout_s: float = Field(default=15, gt=0)
    """How long a webhook may take to answer."""
    webhook_give_up_s: float = Field(default=86400, ge=0)
    """How long a failed delivery to a webhook is tried again."""
    routes: Json[dict[str, str]] = Field(default_factory=dict, validate_default=False)
    """Where services run apart: path prefix to the base URL of its owner, as JSON."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read what is set. Raises `BadSettings`; an unknown name under the prefix is an error, not silence."""
        given = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(PREFIX)
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise BadSettings.of(PREFIX, error) from None
