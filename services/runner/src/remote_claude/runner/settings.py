"""The settings of the runner."""

import os
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from remote_claude.outbound.hosts import DEFAULT
from remote_claude.runner.egress.policy import NetworkPolicy
from remote_claude.runner.model_proxy.call_policy import CallPolicy
from remote_claude.runtime.settings import Settings


def _network(text: str) -> str:
    NetworkPolicy.parse(text)
    return text


class RunnerSettings(Settings):
    """Each field is read from `RCLAUDE_RUNNER_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="RCLAUDE_RUNNER_", frozen=True, extra="ignore")

    slots: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    """Attempts at one time; as many as there are cores unless set."""
    vcpu_millis: int = Field(default_factory=lambda: 1000 * (os.cpu_count() or 1))
    memory_mib: int = Field(default_factory=lambda: _memory_mib())
    """What one attempt may ask for at the most: the machine's own unless set."""
    pool: str = "default"
    """The pool that this runner belongs to: a name for runners of one kind."""
    region: str | None = None
    """Where this runner is, as its provider names it."""
    isolation: Literal["bubblewrap", "none"] = "bubblewrap"
    """Of the provider `local`. `none` runs agents unprotected as the user of the services."""
    providers: str = "local"
    """Compute providers, separated by commas. Each has a runner of its own."""
    gateway_url: str | None = None
    """`ws://` or `wss://`: where workers with a network of their own reach the gateway."""
    relay_url: str | None = None
    """`ws://` or `wss://`: a relay that this stack dials, and where workers meet it, for a stack without a public address."""
    relay_token: str = ""
    """What the relay has in `RCLAUDE_RELAY_TOKEN`."""
    allow_noop: bool = True
    """Whether the agent `noop` may be asked for: nothing is run, for benchmarks and health checks."""
    sample_s: float = 5.0
    """Seconds between two samples of what an attempt uses."""
    lease_s: float = 15.0
    """A runner that was not renewed for so long stops what it runs."""
    silent_after_s: float = Field(default=0.0, ge=0)
    """An attempt whose output is silent for so long, in seconds, is ended as failed (`silent`). 0: none is."""
    max_result_mib: int = 512
    max_source_mib: int = 2048
    max_output_mib: int = 256
    """Of one attempt; one that says more is ended."""
    network: Annotated[str, AfterValidator(_network)] = DEFAULT
    """What a task can connect to that does not ask for a network: `default`, or hosts with commas between them. `none`:
    sandboxes have no network, whatever is asked for."""
    pull_request_give_up_s: float = 900.0
    """A pull request that could not be opened for so long, for a passing reason, waits for `rclaude pr`; a comment on the
    issue or pull request that started a task is given up."""
    model_key_for: Literal["owner", "all"] = "owner"
    """Whose tasks may use the key in the operator's environment: those of the organisation that owns an embedded stack, or
    all. With `all`, the terms of the model's vendor are the operator's matter."""
    model_allow: Annotated[tuple[str, ...], NoDecode] = ()
    """Rules, separated by commas, for what else a sandbox may ask of the model's service, such as `tool:web_search_*`."""

    @field_validator("model_allow", mode="before")
    @classmethod
    def _rules(cls, value: object) -> object:
        rules = tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value
        CallPolicy(rules)  # type: ignore[arg-type]  # what is no list of texts is refused after this
        return rules


def _memory_mib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1024 * 1024)
