"""Which prices an attempt's model calls have: those that were published when it began. A model's name in their table."""

from __future__ import annotations

import re

from remote_claude.contracts.model_prices import ModelPrices, list_prices
from remote_claude.eventsourcing.events import stream_id
from remote_claude.eventsourcing.log import EventLog

PUBLISHED = stream_id("billing", None, "catalog", "models")

_PREFIX = re.compile(
    r"(arn:aws[a-z-]*:bedrock:[^/]*/)?(publishers/anthropic/models/)?([a-z]{2,8}\.)?(anthropic[./])?(?=claude)"
)
_SUFFIX = re.compile(
    r"(-v\d+(:\d+)?)?(-0)?([-@]\d{8}(-v\d+(:\d+)?)?|-\d{4}-\d{2}-\d{2}|-latest|@latest|@default)?(\[1m\])?$"
)


def canonical(model: str) -> str:
    """The name as the table has it: without date, context size, and what a vendor, Bedrock or Vertex puts around it."""
    name = _SUFFIX.sub("", _PREFIX.sub("", model))
    return name if "claude" in name else name.rpartition("/")[2].lower()


async def read_model_prices(log: EventLog) -> ModelPrices:
    """The prices as they are now: those that were published last, or the list prices."""
    published = await log.read_stream(PUBLISHED)
    prices: ModelPrices = published[-1].event.prices if published else list_prices()
    return prices
