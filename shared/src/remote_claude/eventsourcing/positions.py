"""How far something has come in the log, for those who wait for it."""

from __future__ import annotations

import asyncio


class Reached:
    """A position that others wait for. It may go back."""

    def __init__(self) -> None:
        self.position = 0
        self._waiters: dict[asyncio.Future[bool], int] = {}

    def reach(self, position: int) -> None:
        """Set the position, and wake those who wait for it."""
        self.position = position
        for waiter, wanted in self._waiters.items():
            if wanted <= position and not waiter.done():
                waiter.set_result(True)

    async def wait_for(self, position: int, timeout: float) -> bool:
        """Wait until it is at `position`, at most `timeout` seconds; False when it is not."""
        if self.position >= position:
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = position
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        except TimeoutError:
            return False
        finally:
            del self._waiters[waiter]
