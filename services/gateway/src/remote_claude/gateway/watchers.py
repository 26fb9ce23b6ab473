"""Who watches which task: one reader of the log and one of the output per process, fanned out in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.gateway.domain.lifecycle import Progress, evolve
from remote_claude.runtime.output import OutputChunk
