"""Keeps the leases of a runner's attempts alive, and ends the attempts when it can't."""

from __future__ import annotations

import asyncio

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from remote_claude.contracts.leases import SUBJECT, LeaseAnswer, LeaseRequest
from remote_claude.runner.assignments import Executor
from remote_claude.runner.leases.lease import Lease

log = structlog.get_logger(__name__)


async def keep_leases(nats: Client, executor: Executor, lease: Lease) -> None:
    """Renew until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        sent_at = loop.time()
        if not executor.joined:  # one that renews is given work, and joining gives up what came before
            lease.renew(sent_at)
            await asyncio.sleep(lease.interval)
            continue
        request = LeaseRequest(runner=executor.runner, attempts=executor.held)
        try:
            reply = await nats.request(SUBJECT, request.model_dump_json().encode(), timeout=lease.interval)
        except (NatsError, OSError):  # no scheduler leads, or the broker is away
            if lease.left < 0 and executor.held:
                log.warning("no renewal for a whole lease: stopping what runs", runner=executor.runner)
                executor.stop_all("lost")
        else:
            answer = LeaseAnswer.model_validate_json(reply.data)
            lease.renew(sent_at, request.attempts)
            for attempt in answer.revoked:
                executor.stop(attempt, "revoked")
            if not answer.known:
                await executor.join()
        await lease.due(sent_at + lease.interval)
