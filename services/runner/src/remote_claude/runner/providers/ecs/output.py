"""The end of what a task wrote, out of CloudWatch Logs."""

from __future__ import annotations

import asyncio
from typing import Any

from remote_claude.runner.providers.base import ProviderError
from remote_claude.runner.providers.ecs.client import EcsClient

_KEPT = 8 * 1024
_EVENTS = 200
_TRIES, _PAUSE_S = 8, 0.25
"""Events arrive later than the end of their task."""


async def last_output(client: EcsClient, definition: Any, arn: str) -> str:
    """At most 8 KiB, for diagnosis; empty where the task definition keeps no logs or they can't be read."""
    worker = definition["containerDefinitions"][0]
    options = worker.get("logConfiguration", {}).get("options", {})
    group, prefix = options.get("awslogs-group"), options.get("awslogs-stream-prefix")
    if group is None or prefix is None:
        return ""
    before: list[str] | None = None
    for _ in range(_TRIES):
        try:
            answer = await client.call(
                "logs",
                "get_log_events",
                "the output can't be read",
                logGroupName=group,
                logStreamName=f"{prefix}/{worker['name']}/{arn.rsplit('/', 1)[-1]}",
                limit=_EVENTS,
                startFromHead=False,
            )
        except ProviderError:  # the stream is made with its first event
            lines = []
        else:
            lines = [str(event["message"]) for event in answer["events"]]
        if lines and lines == before:
            break
        before = lines
        await asyncio.sleep(_PAUSE_S)
    text = "".join(f"{line}\n" for line in before or [])
    return text.encode()[-_KEPT:].decode(errors="replace")
