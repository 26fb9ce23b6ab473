"""Keeps the leases of a runner's attempts alive, and ends the attempts when it can't."""

from __future__ import annotations

import asyncio

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from remote_claude.contracts.leases import SUBJECT, LeaseAnswer, LeaseRequest
from remote_claude.runner.executor import Executor

log = structlog.get_logger(__name__)

RENEWALS_PER_LEASE = 5


async def keep_leases(nats: Client, executor: Executor, lease_s: float) -> None:
    """Renew until cancelled. What holds is counted from when the request was sent, on this machine's monotonic clock."""
    loop = asyncio.get_running_loop()
    interval = lease_s / RENEWALS_PER_LEASE
    renewed_at = loop.time()
    while True:
        sent_at = loop.time()
        if not executor.joined:  # one that renews is given work, and joining gives up what came before
            renewed_at = sent_at
            await asyncio.sleep(interval)
            continue
        request = LeaseRequest(runner=executor.runner, attempts=executor.held)
        try:
            reply = await nats.request(SUBJECT, request.model_dump_json().encode(), timeout=interval)
        except (NatsError, OSError):  # no scheduler leads, or the broker is away
            if loop.time() - renewed_at > lease_s and executor.held:
                log.warning("no renewal for a whole lease: stopping what runs", runner=executor.runner)
                executor.stop_all("lost")
        else:
            answer = LeaseAnswer.model_validate_json(reply.data)
            renewed_at = sent_at
            for attempt in answer.revoked:
                executor.stop(attempt, "revoked")
            if not answer.known:
                await executor.join()
        await asyncio.sleep(max(0.0, sent_at + interval - loop.time()))
