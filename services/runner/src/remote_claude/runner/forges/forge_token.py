"""The token for a forge and the key that signs commits: sealed in the log, opened in memory."""

from __future__ import annotations

import httpx2

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased
from remote_claude.access.vault import SIGNING_KEY, open_secret, read_vault
from remote_claude.outbound.forges import Forge
from remote_claude.runner.forges.github_app import installation_token
from remote_claude.runtime.service import Runtime


async def forge_token(runtime: Runtime, org: str, forge: Forge, user: str) -> str | None:
    """The person's own token, by which the forge checks their access; otherwise the organisation's.

    Of a GitHub App that the organisation has connected, a new token of its installation. None without a token, or once the key
    that sealed it is erased. Raises `ForgeFailed`.
    """
    for owner in (user, None):
        found = await _opened(runtime, org, f"forge_{forge.name}", owner)
        if found is not None and found.startswith("{"):
            async with httpx2.AsyncClient(timeout=30.0, follow_redirects=False) as client:
                return await installation_token(client, forge, found, int(runtime.clock().timestamp()))
        if found is not None:
            return found
    return None


async def signing_key(runtime: Runtime, org: str) -> str | None:
    """The private key that signs commits, in OpenSSH's format; None without one, or once the organisation's key is erased."""
    return await _opened(runtime, org, SIGNING_KEY, None)


async def _opened(runtime: Runtime, org: str, name: str, owner: str | None) -> str | None:
    stored = (await read_vault(runtime.log, org)).stored.get((owner, name))
    try:
        return await open_secret(runtime.keyring, stored) if stored is not None else None
    except (KeyErased, KeyUnusable):
        return None
