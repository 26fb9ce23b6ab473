"""Requests between services on core NATS: what is asked and answered, but is no fact worth keeping in the log.

One process answers each request. A request that no process answers has timed out for its sender, who decides what follows.
"""

from dataclasses import dataclass

from remote_claude.contracts import budgets, key_use, leases, waiting
from remote_claude.contracts.base import Value


@dataclass(frozen=True, slots=True)
class Request:
    """A subject, the message that is sent on it, and the message that answers it. Both are JSON."""

    subject: str
    body: type[Value]
    answer: type[Value]


RENEW_LEASES = Request(leases.SUBJECT, leases.LeaseRequest, leases.LeaseAnswer)
EXPLAIN_WAITING = Request(waiting.SUBJECT, waiting.WaitingRequest, waiting.WaitingAnswer)
ASK_MONTH = Request(budgets.SUBJECT, budgets.MonthRequest, budgets.MonthAnswer)
REPORT_USED_KEYS = Request(key_use.SUBJECT, key_use.UsedKeys, key_use.UsedKeysTaken)

REQUESTS = (RENEW_LEASES, EXPLAIN_WAITING, ASK_MONTH, REPORT_USED_KEYS)
