"""Who causes events: the credential of a request, or the operator at `rclaude-admin`. The envelope of an event says it.

What is appended meanwhile by a command handler carries it. An event that another event caused has none.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple

OPERATOR = "operator/"
"""How the id of an operator begins; their name on the machine follows."""


class Actor(NamedTuple):
    """`id` is `key_...`, `session_...` or `operator/<user of the machine>`.

    `origin` is where the request came from, sealed: `<name of the data key>:<box>`; None where that is not known.
    """

    id: str
    origin: str | None = None


current: ContextVar[Actor | None] = ContextVar("actor", default=None)
