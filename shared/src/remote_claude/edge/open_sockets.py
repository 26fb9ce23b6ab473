"""How many WebSockets one credential has open in this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from remote_claude.contracts.refusals import Refusal


class TooManySockets(Refusal):
    """A credential has as many WebSockets open as it may."""

    code: ClassVar[str] = "too_many_sockets"
    status: ClassVar[int] = 429

    def __init__(self, most: int) -> None:
        super().__init__(
            f"This credential has {most} WebSockets open, which is the most. Close one, or use another key."
        )


class OpenSockets:
    """Counts the WebSockets of each credential, of which it may have `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    @contextmanager
    def opened(self, credential: str) -> Iterator[None]:
        """Count one for as long as the context lasts. Raises `TooManySockets`."""
        if self._open[credential] >= self._most:
            raise TooManySockets(self._most)
        self._open[credential] += 1
        try:
            yield
        finally:
            self._open[credential] -= 1
            if not self._open[credential]:
                del self._open[credential]
