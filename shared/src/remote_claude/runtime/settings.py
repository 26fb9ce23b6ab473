"""What every service has to know, from the environment; `settings_sources` adds to it what files say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:
    from remote_claude.access.kek import KeySource


class BadSettings(Exception):
    """The settings lack one, or give one a value that it can't have. Names each of them."""

    code = "bad_settings"

    @classmethod
    def of(cls, prefix: str, error: ValidationError) -> Self:
        """What is wrong with the variables that begin with `prefix`."""
        wrong = [
            f"{prefix}{str(at['loc'][0]).upper()}: {at['msg'].lower()}" for at in error.errors() if at["loc"]
        ]
        return cls.listing(wrong)

    @classmethod
    def listing(cls, wrong: Sequence[str]) -> Self:
        """What is wrong, a line each: the setting, a colon, and why."""
        return cls("\n".join(["the settings can't be used", *wrong]))


class Settings(BaseSettings):
    """What is read from the environment, under the class's `env_prefix`."""

    @classmethod
    def from_environment(cls) -> Self:
        """Raises `BadSettings`."""
        try:
            return cls()
        except ValidationError as error:
            raise BadSettings.of(cls.model_config["env_prefix"], error) from None


class BrokerSettings(Settings):
    """Where the broker is, and as whom to use it. Each field is read from `RCLAUDE_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="RCLAUDE_", frozen=True, extra="ignore")

    nats_url: str
    """One broker, or those of a cluster, with commas between them."""
    nats_credentials: Path | None = None
    """File with the NKey seed of this process's broker user."""
    nats_ca: Path | None = None
    """File with the certificates of the authority that has signed the broker's."""
    nats_certificate: Path | None = None
    """File with this process's own certificate, for a broker that verifies its clients; read again at each new connection."""
    nats_key: Path | None = None
    """File with the key of that certificate."""
    nats_plain: bool = False
    """Use nothing but the public API of the broker's client library. Slower; for a version of it that was not tried.
    With TLS the broker's `tls` needs `handshake_first: auto`."""
    replicas: int = 1


class RuntimeSettings(BrokerSettings):
    """Where the shared parts are. Each field is read from `RCLAUDE_<FIELD>`."""

    home: Path = Path("~/.rclaude")
    postgres_dsn: str
    objects: str
    """A directory, or the URL of a bucket that obstore understands."""
    kek_file: Path | None = None
    """File with the key-encryption keys: 32 bytes each, base64url, a line each, the newest first."""
    kek: str = Field(default="", repr=False)
    """The same lines in place of a file."""
    kek_kms: str = ""
    """The service that has encrypted these lines: `aws:<id, ARN or alias of a key>`; empty: none has."""
    http_host: str = "127.0.0.1"
    http_port: int = 0
    public_url: str = ""
    """Where browsers reach the installation, such as https://rclaude.example.com; empty: the address that a request names."""
    trusted_proxies: str = "127.0.0.1"
    """Addresses and networks whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed, with commas between them."""
    rate_limits: str = ""
    """How often may be asked, such as `key=1200/minute,person=1800/minute,org=6000/minute,address=3000/minute`; empty: as
    often as one likes. Processes that answer side by side divide them."""
    max_sockets: int = Field(default=500, ge=1)
    """How many WebSockets one key or session may have open in this process."""
    outbound_allow: str = ""
    """Hosts and networks beyond the public internet that users' URLs and sandboxes may lead to, with commas between them:
    `HOST`, `*.DOMAIN` or `ADDRESS/BITS`, each with `:PORT` for one port only."""
    forges: str = ""
    """Forges besides the public ones, with commas between them: `NAME=KIND:URL`, such as `work=gitlab:https://git.example.com`."""
    log_level: str = "info"
    log_json: bool = True
    archive: bool = True
    """Whether this process may be the one that keeps the log's archive."""
    heads: Path | None = None
    """Folder of the archive's signed heads, `<home>/heads` unless set."""
    head_key: Path | None = None
    """File with the Ed25519 key that signs them, `<home>/head_key` unless set."""
    owner_file: Path | None = None
    """Where an embedded stack keeps its owner; None everywhere else."""

    @field_validator("forges")
    @classmethod
    def _are_forges(cls, text: str) -> str:
        if text:  # imported here: few commands need it
            from remote_claude.outbound.forges import Forges

            Forges(text)
        return text

    @property
    def key_source(self) -> KeySource:
        """Where the key-encryption keys are."""
        from remote_claude.access.kek import KeySource  # `rclaude-admin --help` reads the settings too

        return KeySource(self.kek_file, self.kek, self.kek_kms)

    @field_validator("rate_limits")
    @classmethod
    def _are_limits(cls, text: str) -> str:
        if text:  # imported here: few commands need it
            from remote_claude.edge.rate_limits import RateLimits

            RateLimits.of(text)
        return text
