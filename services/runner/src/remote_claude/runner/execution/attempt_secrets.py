"""The secrets of an attempt: opened in memory, for the egress proxy; the sandbox gets placeholders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased
from remote_claude.access.model_credentials import CredentialUnusable
from remote_claude.access.vault import SecretNotFound, Vault, open_secret
from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.contracts.users import SPEAKS
from remote_claude.runner.egress import Placeholder
from remote_claude.runner.execution.source import Unstartable
from remote_claude.runner.model_proxy import Upstream
from remote_claude.runtime.service import Runtime


@dataclass(frozen=True, slots=True)
class Released:
    """`environment` is that of the sandbox: placeholders, and the values of secrets with `as_env`."""

    names: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    placeholders: tuple[Placeholder, ...] = ()


async def release(runtime: Runtime, vault: Vault, submitted: TaskSubmitted) -> Released:
    """The secrets that the task names. Raises `Unstartable` for one that is not there any more."""
    environment, placeholders = {}, []
    for name in submitted.secrets:
        try:
            secret = vault.secret(name, submitted.user)
            value = await open_secret(runtime.keyring, secret)
        except SecretNotFound as error:
            raise Unstartable(error.code, error.detail) from error
        except (KeyErased, KeyUnusable) as error:
            raise Unstartable(error.code, str(error)) from error
        if secret.as_env:
            environment[name] = value
        else:
            placeholders.append(one := Placeholder.of(name, value, secret.hosts))
            environment[name] = one.text
    return Released(submitted.secrets, environment, tuple(placeholders))


async def upstream(
    runtime: Runtime, vault: Vault, submitted: TaskSubmitted, operators: Upstream | None
) -> Upstream | None:
    """The model for a task: by the credential of its person or organisation, otherwise the operator's, if there is one.

    Raises `Unstartable` for an agent that needs a model and has none.
    """
    own = vault.model(submitted.user, submitted.agent)
    if own is not None and own.model is not None:
        try:
            return Upstream.of_customer(own.model, await open_secret(runtime.keyring, own))
        except (KeyErased, KeyUnusable, CredentialUnusable) as error:
            raise Unstartable(error.code, str(error)) from error
    usable = SPEAKS.get(submitted.agent, frozenset())
    if usable and (operators is None or "anthropic" not in usable):
        kinds = ", ".join(sorted(usable))
        raise Unstartable(
            "model_key_needed",
            f"There is no key for a model that the agent {submitted.agent} can use. Store one: `rclaude model add NAME --kind "
            f"KIND`, where KIND is one of {kinds}.",
        )
    return operators
