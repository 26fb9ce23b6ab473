"""The organisation's token for a forge and its signing key: sealed in the log, opened in memory."""

from __future__ import annotations

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased, Keyring
from remote_claude.access.vault import SIGNING_KEY, open_secret, read_vault
from remote_claude.eventsourcing.log import EventLog


async def forge_token(log: EventLog, keyring: Keyring, org: str, forge: str) -> str | None:
    """The token that was stored last; None without one, or once the organisation's key is erased."""
    return await _opened(log, keyring, org, f"forge_{forge}")


async def signing_key(log: EventLog, keyring: Keyring, org: str) -> str | None:
    """The private key that signs commits, in OpenSSH's format; None without one, or once the organisation's key is erased."""
    return await _opened(log, keyring, org, SIGNING_KEY)


async def _opened(log: EventLog, keyring: Keyring, org: str, name: str) -> str | None:
    stored = (await read_vault(log, org)).stored.get((None, name))
    try:
        return await open_secret(keyring, stored) if stored is not None else None
    except (KeyErased, KeyUnusable):
        return None
