"""The launches of a provider by name: those that run, and the last that have ended."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from remote_claude.runner.providers.base import Instance, ProviderError, SandboxExists, SandboxUnknown

T = TypeVar("T")

REMEMBERED = 1000
"""How many ended launches are kept."""


class Launches(Generic[T]):
    """What a provider knows of each launch. A name belongs to one running launch at most."""

    def __init__(self) -> None:
        self.live: dict[str, T] = {}
        self._ended: OrderedDict[str, T] = OrderedDict()

    def claim(self, name: str) -> T | None:
        """Make a name free for a launch: the ended one that had it, if any. Raises `SandboxExists`."""
        if name in self.live:
            raise SandboxExists(f"a sandbox {name} still exists: end it first")
        return self._ended.pop(name, None)

    def find(self, name: str) -> T:
        """The launch of this name, running or ended. Raises `SandboxUnknown`."""
        one = self.live.get(name) or self._ended.get(name)
        if one is None:
            raise SandboxUnknown(f"no sandbox {name} was launched here")
        return one

    def end(self, name: str) -> None:
        """It has ended."""
        self._ended[name] = self.live.pop(name)
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)


async def finish_start(
    starting: asyncio.Task[Instance], terminate: Callable[[], Awaitable[None]]
) -> Instance:
    """The result of a start that nothing cuts short: a caller that is cancelled gets it ended first."""
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with suppress(ProviderError):
            await starting
        await terminate()
        raise
