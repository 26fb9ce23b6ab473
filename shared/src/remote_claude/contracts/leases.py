"""How a runner keeps what it was assigned: a request on core NATS, not an event, since a renewal is not a fact worth keeping.

A runner that has joined asks on `SUBJECT` at least three times a lease, and at once when it is assigned something; the
leading scheduler answers. What the request names is renewed from the moment it asked; what none has named is not launched.
A runner without an answer for one lease stops its sandboxes by its own monotonic clock; the scheduler waits one lease and
five seconds before it gives an attempt to another.
"""

from remote_claude.contracts.base import Value

SUBJECT = "lease.renew"


class HeldAttempt(Value):
    org: str
    task: str
    attempt: int


class LeaseRequest(Value):
    """A runner and every attempt that it is executing."""

    runner: str
    attempts: tuple[HeldAttempt, ...] = ()


class LeaseAnswer(Value):
    """`revoked` are held attempts that are no longer the runner's: it stops them. What it says of them after that
    is late and decides nothing; what they have used is still recorded.

    `known` is False when the scheduler has not seen this runner join: it has to append `RunnerJoined` again.
    """

    known: bool
    revoked: tuple[HeldAttempt, ...] = ()
