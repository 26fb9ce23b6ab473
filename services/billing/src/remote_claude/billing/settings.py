"""Settings of billing."""

import os
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from remote_claude.runtime.mail import checked_smtp_url
from remote_claude.runtime.settings import Settings


class BillingSettings(Settings):
    """Each field is read from `RCLAUDE_BILLING_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="RCLAUDE_BILLING_", frozen=True, extra="ignore")

    default_plan: str = "free"
    """The plan that a new organisation starts on."""
    owner_vcpu_millis: int = Field(default_factory=lambda: min(2000, 1000 * (os.cpu_count() or 1)))
    owner_memory_mib: int = Field(default_factory=lambda: min(4096, _memory_mib()))
    owner_duration_s: int = 7200
    """What a task of an embedded stack's owner may use: 2 vCPU and 4 GiB, or what the machine has."""
    upgrade_url: str | None = None
    """A page where a larger plan can be chosen. It is shown to users who reach a limit."""
    return_url: str = "http://127.0.0.1:8080/"
    """Where a browser goes after Stripe's Checkout and portal."""
    stripe_key: SecretStr | None = None
    """A secret key of Stripe. Without it invoices are paid by hand."""
    stripe_webhook_secret: SecretStr | None = None
    """What Stripe signs its webhooks with."""
    stripe_url: str | None = None
    """Another address than Stripe's own, for tests."""
    signing_key: Path | None = None
    """File with the Ed25519 key that signs exported invoices, `<home>/billing_key` unless set; made at the first start."""
    smtp_url: SecretStr | None = None
    """The mail server that sends invoices and alerts: `smtp://USER:PASSWORD@HOST:PORT` for STARTTLS, `smtps://` for TLS
    from the start, `smtp+plain://` for no TLS. Without it nothing is mailed."""
    mail_from: str = "Remote Claude <no-reply@localhost>"
    """The sender of mail."""
    unpaid_grace_s: int = 14 * 24 * 3600
    """Seconds from the first payment that failed until the organisation goes to the default plan."""
    close_after_s: int | None = None
    """Seconds after the end of a period until it is closed and invoiced. Without it: by `rclaude-admin billing close`."""

    @field_validator("smtp_url")
    @classmethod
    def _is_a_mail_server(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            checked_smtp_url(value.get_secret_value())
        return value


def _memory_mib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1024 * 1024)
