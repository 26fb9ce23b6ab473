"""Posts the end of a task, and alerts about quotas, to webhooks. Only the outbox's worker sends these requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import httpx2

from remote_claude.access.keyring import KeyErased, Keyring
from remote_claude.contracts.contexts import webhook_secret_context, webhook_url_context
from remote_claude.contracts.gateway import (
    QuotaAlertDelivered,
    QuotaAlertFailed,
    WebhookDelivered,
    WebhookFailed,
    WebhookOutcome,
)
from remote_claude.eventsourcing.events import Clock
from remote_claude.eventsourcing.postgres.effects import Done, Outbox, Park, Retry, Verdict
from remote_claude.eventsourcing.postgres.outbox_table import OutboxRow
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.gateway.domain.webhooks import body, headers, slack_body
from remote_claude.gateway.projections.webhooks import DeliveryRow, WebhooksView, webhooks
from remote_claude.gateway.settings import GatewaySettings
from remote_claude.outbound import AddressRefused, AllowedHosts, CheckedTransport
from remote_claude.runtime.service import Runtime


class Deliveries:
    """Posts to hooks. Follows no redirect, and reads nothing of an answer but its status."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        pool: Pool,
        keyring: Keyring,
        clock: Clock,
        *,
        timeout_s: float,
        public_url: str,
    ) -> None:
        self._client, self._pool, self._keyring, self._clock = client, pool, keyring, clock
        self._timeout_s, self._public_url = timeout_s, public_url.rstrip("/")

    async def perform(self, row: OutboxRow) -> Verdict:
        """Post it. Done with any 2xx; with 410 the receiver refuses all further tries."""
        found = await webhooks(self._pool, hook=row.lane)
        if not found:
            return Retry("removed", after=0)  # the row is gone as well
        [hook] = found
        try:
            url = await self._keyring.open(hook.url, webhook_url_context(hook.hook))
            secret = await self._keyring.open(hook.secret, webhook_secret_context(hook.hook))
        except KeyErased:
            return Park("key_erased")
        slack = hook.format == "slack"
        content = slack_body(row.payload, self._public_url) if slack else body(row.payload, row.occurred_at)
        signed = headers(secret, row.key, int(self._clock().timestamp()), content)
        try:
            async with asyncio.timeout(self._timeout_s):
                status = await self._post(url, content, signed)
        except TimeoutError:
            return Retry("timeout")
        except AddressRefused:
            return Park("address_refused")
        except (httpx2.HTTPError, httpx2.InvalidURL):
            return Retry("unreachable")
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return Done(status)
        if status == HTTPStatus.GONE:
            return Park("gone", status)
        return Retry("refused", status)

    async def _post(self, url: str, content: bytes, signed: dict[str, str]) -> int:
        about = {"content-type": "application/json", "user-agent": "remote-claude"}
        async with self._client.stream("POST", url, content=content, headers=about | signed) as answer:
            return answer.status_code

    def outcome(
        self, row: OutboxRow, verdict: Done | Park
    ) -> WebhookOutcome | QuotaAlertDelivered | QuotaAlertFailed:
        """The event that settles it."""
        org, task = row.payload["org"], row.payload.get("task")
        about = {"hook": row.lane, "org": org, "alert": row.payload["event"]}
        match verdict:
            case Done(status) if task is None:
                return QuotaAlertDelivered(**about, status=status)
            case Park(reason, status) if task is None:
                return QuotaAlertFailed(**about, reason=reason, status=status)
            case Done(status):
                return WebhookDelivered(task=task, org=org, hook=row.lane, status=status)
            case Park(reason, status):
                return WebhookFailed(task=task, org=org, hook=row.lane, reason=reason, status=status)


def outbox(runtime: Runtime, settings: GatewaySettings) -> Outbox:
    """The gateway's outbox, for the host to work."""

    allowed = AllowedHosts.parse(runtime.settings.outbound_allow)

    @asynccontextmanager
    async def deliveries() -> AsyncIterator[Deliveries]:
        async with httpx2.AsyncClient(
            transport=CheckedTransport(allowed), timeout=settings.webhook_timeout_s, follow_redirects=False
        ) as client:
            yield Deliveries(
                client,
                runtime.pool,
                runtime.keyring,
                runtime.clock,
                timeout_s=settings.webhook_timeout_s,
                public_url=runtime.settings.public_url,
            )

    return Outbox(
        view=WebhooksView(), table=DeliveryRow, open=deliveries, give_up_s=settings.webhook_give_up_s
    )
