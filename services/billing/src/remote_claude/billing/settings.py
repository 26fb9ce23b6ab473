"""What billing has to be told."""

from pydantic_settings import SettingsConfigDict

from remote_claude.runtime.settings import Settings


class BillingSettings(Settings):
    """Each field is read from `RCLAUDE_BILLING_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="RCLAUDE_BILLING_", frozen=True, extra="ignore")

    default_plan: str = "free"
    """The plan that a new organisation starts on."""
    owner_vcpu_millis: int = 2000
    owner_memory_mib: int = 4096
    owner_duration_s: int = 7200
    """What a task of an embedded stack's owner may use."""
