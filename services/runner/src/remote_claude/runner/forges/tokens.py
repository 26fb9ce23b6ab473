"""The organisation's token for a forge: sealed in the log, opened in memory."""

from __future__ import annotations

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased, Keyring
from remote_claude.contracts.contexts import secret_context
from remote_claude.contracts.users import SecretStored
from remote_claude.eventsourcing.events import stream_id
from remote_claude.eventsourcing.log import EventLog


async def forge_token(log: EventLog, keyring: Keyring, org: str, forge: str) -> str | None:
    """The token that was stored last; None without one, or once the organisation's key is erased."""
    name = f"forge_{forge}"
    history = await log.read_stream(stream_id("users", org, "secret", name))
    if not history:
        return None
    stored: SecretStored = history[-1].event
    try:
        return await keyring.open(stored.value, secret_context(org, name))
    except (KeyErased, KeyUnusable):
        return None
