"""The one base of every expected refusal: a stable code, an HTTP status, and what to do next."""

from __future__ import annotations

from typing import Any, ClassVar


class Refusal(Exception):
    """A request or command that is refused. Nothing was changed.

    `code` is stable, `status` is the HTTP status, `detail` says what happened, why, and what to do. `extra` are further
    fields of the problem document. The HTTP edge and the command lines map every subclass in one place.
    """

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 422

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail, self.extra = detail, extra


class NotCaughtUp(Refusal):
    """The view did not reach the position in time."""

    code: ClassVar[str] = "not_caught_up"
    status: ClassVar[int] = 503

    def __init__(self, position: int, as_of: int) -> None:
        super().__init__(
            f"The view is at position {as_of} and did not reach {position} in time. Ask again in a moment.",
            as_of=as_of,
        )


class Stale(Refusal):
    """This process reads no events at the moment."""

    code: ClassVar[str] = "stale"
    status: ClassVar[int] = 503

    def __init__(self) -> None:
        super().__init__(
            "The event log has sent no heartbeat for too long to trust what is known here. Ask again."
        )


class InvalidCursor(Refusal):
    code: ClassVar[str] = "invalid_cursor"

    def __init__(self) -> None:
        super().__init__(
            "The server did not make this cursor. Send one of an earlier answer, or none to start at the beginning."
        )
