"""Why tasks wait: a request on core NATS to the leading scheduler, which knows its queue and who renews a lease.

Not an event: the answer changes with every task that ends, and nothing follows from it.
"""

from remote_claude.contracts.base import Value

SUBJECT = "queue.explain"


class WaitingRequest(Value):
    """Tasks of one organisation. Those that do not wait are left out of the answer."""

    org: str
    tasks: tuple[str, ...]


class Waiting(Value):
    """Why a task waits.

    `code` is stable, `detail` is a sentence for people. `place` is its place in the organisation's queue, from 1: None
    when it is far behind.
    """

    task: str
    code: str
    detail: str
    place: int | None = None


class WaitingAnswer(Value):
    waiting: tuple[Waiting, ...] = ()
