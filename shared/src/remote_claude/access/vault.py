"""The secrets of an organisation and of its people there: one stream, sealed values, opened in memory by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from remote_claude.access.keyring import Keyring
from remote_claude.contracts.contexts import secret_context
from remote_claude.contracts.refusals import Refusal
from remote_claude.contracts.users import SPEAKS, ModelChosen, SecretRemoved, SecretStored
from remote_claude.eventsourcing.events import stream_id
from remote_claude.eventsourcing.log import EventLog

SIGNING_KEY = "signing_key"
"""The name of the secret with the organisation's private key for commits."""
VaultEvent = SecretStored | SecretRemoved | ModelChosen


class SecretNotFound(Refusal):
    code = "secret_not_found"
    status = 404

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no secret {name[:64]!r}. `rclaude secret list` shows those that you can use; "
            f"`rclaude secret set {name[:64]} --host HOST` stores one.",
            secret=name[:64],
        )


@dataclass(frozen=True, slots=True)
class Vault:
    """What is stored, by owner (None is the organisation) and name; and which model each owner has chosen."""

    stored: Mapping[tuple[str | None, str], SecretStored] = field(default_factory=dict)
    chosen: Mapping[str | None, str] = field(default_factory=dict)

    def secret(self, name: str, user: str) -> SecretStored:
        """The secret that a task of this person gets: their own, otherwise the organisation's. Raises `SecretNotFound`."""
        for owner in (user, None):
            found = self.stored.get((owner, name))
            if found is not None and (found.hosts or found.as_env):
                return found
        raise SecretNotFound(name)

    def model(self, user: str, agent: str | None = None) -> SecretStored | None:
        """The model credential of a task of this person: their own, then the organisation's. None: the operator's.

        It is the chosen one. Where the agent cannot use that kind of service, it is the first by name that it can use.
        """
        for owner in (user, None):
            if (name := self.chosen.get(owner)) is None:
                continue
            names = [name, *sorted(other for of, other in self.stored if of == owner)]
            for found in (self.stored[owner, one] for one in names):
                if found.model is not None and (
                    agent is None or found.model.provider in SPEAKS.get(agent, ())
                ):
                    return found
        return None


def evolve(vault: Vault, event: VaultEvent) -> Vault:
    """The vault after an event."""
    match event:
        case SecretStored():
            return replace(vault, stored={**vault.stored, (event.owner, event.secret_name): event})
        case SecretRemoved():
            gone = (event.owner, event.secret_name)
            stored = {key: secret for key, secret in vault.stored.items() if key != gone}
            chosen = {owner: name for owner, name in vault.chosen.items() if (owner, name) != gone}
            return Vault(stored, chosen)
        case ModelChosen():
            chosen = {owner: name for owner, name in vault.chosen.items() if owner != event.owner}
            if event.secret_name is not None:
                chosen[event.owner] = event.secret_name
            return replace(vault, chosen=chosen)


def fold(events: Iterable[VaultEvent]) -> Vault:
    """The vault after these events."""
    vault = Vault()
    for event in events:
        vault = evolve(vault, event)
    return vault


def stream_of(org: str) -> str:
    """The stream of an organisation's vault."""
    return stream_id("users", org, "vault", org)


async def read_vault(log: EventLog, org: str) -> Vault:
    """The vault as it is now."""
    return fold(recorded.event for recorded in await log.read_stream(stream_of(org)))


async def open_secret(keyring: Keyring, secret: SecretStored) -> str:
    """The value. Raises `KeyErased`, `KeyUnusable`."""
    context = secret_context(secret.org, secret.owner, secret.secret_name)
    return await keyring.open(secret.value, context)
