"""Keeps the leases of a runner's attempts alive, and ends the attempts when it can't."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from remote_claude.contracts.leases import HeldAttempt, LeaseAnswer, LeaseRequest
from remote_claude.contracts.requests import RENEW_LEASES
from remote_claude.runner.leases.lease import Lease
from remote_claude.runner.stopping import StopReason

RETRY_S = 0.25
"""How soon a renewal is sent again when no scheduler listens: one may be about to start."""

log = structlog.get_logger(__name__)


class LeaseHolder(Protocol):
    """What has attempts that need leases."""

    runner: str
    joined: bool

    @property
    def held(self) -> tuple[HeldAttempt, ...]:
        """Every attempt that is being executed."""

    def stop(self, attempt: HeldAttempt, reason: StopReason) -> None:
        """End one attempt, if it runs here."""

    async def join(self) -> int:
        """Record that this runner takes work."""


async def keep_leases(nats: Client, executor: LeaseHolder, lease: Lease) -> None:
    """Renew until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        sent_at, pause = loop.time(), lease.interval
        if not executor.joined:  # one that renews is given work, and joining gives up what came before
            lease.renew(sent_at)
            await asyncio.sleep(lease.interval)
            continue
        request = LeaseRequest(runner=executor.runner, attempts=executor.held)
        try:
            reply = await nats.request(
                RENEW_LEASES.subject, request.model_dump_json().encode(), timeout=lease.interval
            )
        except (NatsError, OSError) as error:  # no scheduler leads, or the broker is away
            pause = min(RETRY_S, lease.interval) if isinstance(error, NoRespondersError) else lease.interval
            if lease.left < 0 and (held := lease.named.intersection(executor.held)):
                log.warning("no renewal for a whole lease: stopping what runs", attempts=len(held))
                for attempt in held:  # the others were never launched: they wait for their first renewal
                    executor.stop(attempt, "lost")
        else:
            answer = LeaseAnswer.model_validate_json(reply.data)
            lease.renew(sent_at, request.attempts)
            for attempt in answer.revoked:
                executor.stop(attempt, "revoked")
            if not answer.known:
                await executor.join()
        await lease.due(sent_at + pause)
