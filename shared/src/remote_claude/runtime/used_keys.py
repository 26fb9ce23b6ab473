"""Reports to auth which API keys this process has admitted, so that their owners see which are still in use."""

from __future__ import annotations

import asyncio

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from remote_claude.access.credentials import ApiKeyVerifier
from remote_claude.contracts.key_use import UsedKey, UsedKeys
from remote_claude.contracts.requests import REPORT_USED_KEYS
from remote_claude.eventsourcing.events import timestamp

EVERY_S = 60.0
MOST = 1000
"""Keys in one report."""
TIMEOUT_S = 5.0

log = structlog.get_logger(__name__)


class UsedKeyReports:
    """Reports once a minute what was used meanwhile. A report that auth does not take is lost: the next use counts."""

    def __init__(self, client: Client, keys: ApiKeyVerifier) -> None:
        self._client, self._keys = client, keys

    async def run(self) -> None:
        """Never ends by itself."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.report()

    async def report(self) -> None:
        """Report what was used since the last report."""
        used = [
            UsedKey(key=key, org=org, at=timestamp(at)) for key, (org, at) in self._keys.take_used().items()
        ]
        for start in range(0, len(used), MOST):
            report = UsedKeys(keys=tuple(used[start : start + MOST]))
            try:
                await self._client.request(
                    REPORT_USED_KEYS.subject, report.model_dump_json().encode(), timeout=TIMEOUT_S
                )
            except (NatsError, OSError) as error:
                log.info("auth takes no report of used keys", error=repr(error))
