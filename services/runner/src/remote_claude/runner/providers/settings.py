"""What a provider is made from, and how one is found by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from pydantic_settings import SettingsConfigDict

from remote_claude.runner.providers.base import ComputeProvider, SandboxUnavailable
from remote_claude.runtime.settings import Settings

ENTRY_POINTS = "remote_claude.compute_providers"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """`home` is a folder of this runner's provider alone; each provider reads its own variables of `environment`."""

    runner: str
    home: Path
    environment: Mapping[str, str]


Create = Callable[[ProviderSettings], ComputeProvider]


def create(name: str, settings: ProviderSettings) -> ComputeProvider:
    """The provider of that name, from the entry points of what is installed. Raises `SandboxUnavailable`."""
    found = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if name not in found:
        raise SandboxUnavailable(
            f"there is no compute provider {name!r}: there are {', '.join(sorted(found))}"
        )
    factory: Create = found[name].load()
    return factory(settings)


class DockerSettings(Settings):
    """Each field is read from `RCLAUDE_RUNNER_DOCKER_<FIELD>`; the engine is found as Docker's client finds it."""

    model_config = SettingsConfigDict(env_prefix="RCLAUDE_RUNNER_DOCKER_", frozen=True, extra="ignore")

    image: str = "remote-claude/worker"
    network: str = "none"
    """`none`: the runner's socket is bound into the container. Otherwise a network on which the gateway is reached."""
    runtime: str | None = None
    """`runsc` for gVisor."""
