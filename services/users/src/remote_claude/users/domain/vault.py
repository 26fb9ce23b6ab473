"""Secrets of an organisation and of its people: stored, replaced, removed; and the model credential that is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from remote_claude.access.vault import SecretNotFound, Vault, VaultEvent
from remote_claude.contracts.refusals import Refusal
from remote_claude.contracts.users import ModelChosen, SecretRemoved, SecretStored

MAX_SECRETS = 200
"""Of an organisation, those of its people included."""


class TooManySecrets(Refusal):
    code = "too_many_secrets"
    status = 409

    def __init__(self) -> None:
        super().__init__(
            f"There are {MAX_SECRETS} secrets already. Remove one first: `rclaude secret remove`."
        )


class ModelNotFound(Refusal):
    code = "model_credential_not_found"
    status = 404

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no model credential {name[:64]!r}. `rclaude model list` shows them; `rclaude model add` stores one."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveSecret:
    """`model`: it has to be a model credential; otherwise it must not be one."""

    org: str
    by: str
    name: str
    owner: str | None
    model: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChooseModel:
    """None is the operator's credential."""

    org: str
    by: str
    name: str | None
    owner: str | None


Command = SecretStored | RemoveSecret | ChooseModel


def decide(command: Command, vault: Vault) -> Sequence[VaultEvent]:
    """What is recorded. The first model credential of an owner is used from then on.

    Raises `SecretNotFound`, `ModelNotFound`, `TooManySecrets`.
    """
    match command:
        case SecretStored():
            if len(vault.stored) >= MAX_SECRETS and (command.owner, command.secret_name) not in vault.stored:
                raise TooManySecrets
            if command.model is None or command.owner in vault.chosen:
                return [command]
            return [command, _chosen(command.org, command.by, command.owner, command.secret_name)]
        case RemoveSecret(org=org, by=by, name=name, owner=owner, model=model):
            found = vault.stored.get((owner, name))
            if found is None or (found.model is not None) != model:
                raise ModelNotFound(name) if model else SecretNotFound(name)
            return [SecretRemoved(org=org, by=by, owner=owner, secret_name=name)]
        case ChooseModel(org=org, by=by, name=name, owner=owner):
            if name is not None and (
                (owner, name) not in vault.stored or not vault.stored[owner, name].model
            ):
                raise ModelNotFound(name)
            if vault.chosen.get(owner) == name:
                return []
            return [_chosen(org, by, owner, name)]


def _chosen(org: str, by: str, owner: str | None, name: str | None) -> ModelChosen:
    return ModelChosen(org=org, by=by, owner=owner, secret_name=name)
