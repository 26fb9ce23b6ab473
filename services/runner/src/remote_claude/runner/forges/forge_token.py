"""The organisation's token for a forge: sealed in the log, opened in memory."""

from __future__ import annotations

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased, Keyring
from remote_claude.access.vault import open_secret, read_vault
from remote_claude.eventsourcing.log import EventLog


async def forge_token(log: EventLog, keyring: Keyring, org: str, forge: str) -> str | None:
    """The token that was stored last; None without one, or once the organisation's key is erased."""
    stored = (await read_vault(log, org)).stored.get((None, f"forge_{forge}"))
    try:
        return await open_secret(keyring, stored) if stored is not None else None
    except (KeyErased, KeyUnusable):
        return None
