"""What the wizard needs of a cloud."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

Say = Callable[[str], None]
Level = Literal["ok", "note", "failed"]


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to the wizard. The cloud chooses where a text is empty."""

    cloud: str
    name: str = "remote-claude"
    account: str = ""
    """AWS: a profile; Google: a project; Azure: a subscription; Fly: an organisation; Kubernetes: a context."""
    region: str = ""
    gateway_url: str = ""
    gateway_cidr: str = ""
    gateway_port: int = 443
    image: str = ""
    relay: bool = False
    """Whether the address of the gateway is that of a relay, which the server dials."""
    budget: int = 0
    """Dollars a month; 0 for no limit."""


@dataclass(frozen=True, slots=True)
class CloudCheck:
    """One thing that was looked at before anything is made. `failed` stops the wizard."""

    name: str
    level: Level
    detail: str


@dataclass(frozen=True, slots=True)
class Prices:
    """List prices in dollars without taxes: what is there anyhow, a month, and a task of 2 vCPU and 4 GiB, an hour."""

    fixed: float
    task_hour: float


@dataclass(frozen=True, slots=True)
class Deployed:
    """`settings` are the runner's environment, without credentials; `steps` are commands that only the user can do."""

    provider: str
    settings: dict[str, str]
    steps: tuple[str, ...] = ()
    outputs: dict[str, str] | None = None


class CloudAccount(Protocol):
    """One account of a cloud. Every method raises `CliError` for what the vendor refuses."""

    answers: Answers
    """With what the cloud has filled in, such as the region of its own configuration."""
    account: str
    identity: str
    """The account, and who one is there, for people."""
    prices: Prices
    needs_gateway: bool
    """Whether tasks run on other machines than the server."""

    def checks(self) -> list[CloudCheck]:
        """Rights and quotas; nothing is made."""

    def plan(self) -> dict[str, int]:
        """The kinds of what is made, and how many of each."""

    def deploy(self, say: Say) -> Deployed:
        """Make it, or bring it up to date. Another call goes on where one was interrupted."""

    def resources(self) -> list[tuple[str, str]]:
        """What there is: kinds and names."""

    def destroy(self, say: Say) -> None:
        """Remove it all, with the tasks that run. What is gone is fine."""
