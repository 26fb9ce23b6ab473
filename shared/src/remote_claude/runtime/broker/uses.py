"""What a service may use of the broker besides the log: each names what it uses in its `consumers` module, as `USES`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from remote_claude.contracts import requests
from remote_claude.eventsourcing.jetstream.streams import EVENTS, KEYS, OUTPUT

INVOICE_KEYS = "invoices"
"""The data keys of invoices are named `invoices.<org>`: kept for the legal term when the organisation's own is erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Subjects that a credential may publish to, with NATS wildcards, and requests of others that it may answer.

    What is in `one` gets one answer at most, what is in `many` several, what is `within` stays among the services.
    """

    one: frozenset[str] = frozenset()
    many: frozenset[str] = frozenset()
    within: frozenset[str] = frozenset()
    answers: frozenset[str] = frozenset()

    def __or__(self, other: Grant) -> Grant:
        return Grant(
            one=self.one | other.one,
            many=self.many | other.many,
            within=self.within | other.within,
            answers=self.answers | other.answers,
        )

    @property
    def publish(self) -> frozenset[str]:
        """Everything that may be published to."""
        return self.one | self.many | self.within


def _reading(stream: str) -> Grant:
    """Read one stream: single messages and subjects, and through pull consumers of one's own making."""
    return Grant(
        one=frozenset(
            {
                f"$JS.API.STREAM.INFO.{stream}",
                f"$JS.API.STREAM.MSG.GET.{stream}",
                f"$JS.API.CONSUMER.CREATE.{stream}.*",
                f"$JS.API.CONSUMER.CREATE.{stream}.*.>",
            }
        ),
        many=frozenset({f"$JS.API.DIRECT.GET.{stream}", f"$JS.API.CONSUMER.MSG.NEXT.{stream}.*"}),
    )


READ_LOG = _reading(EVENTS)
"""What every process needs: it reads the whole log through one tail, and verifies credentials by auth's events."""

REPORT_USED_KEYS = Grant(within=frozenset({requests.REPORT_USED_KEYS.subject}))
"""What every process reports to auth: which API keys it has admitted."""


class Use(Enum):
    """A use of the broker that a service declares."""

    READ_OUTPUT = _reading(OUTPUT)
    WRITE_OUTPUT = Grant(one=frozenset({"out.*.*", f"$JS.API.STREAM.MSG.GET.{OUTPUT}"}))
    READ_KEYS = Grant(one=frozenset({f"$JS.API.STREAM.MSG.GET.KV_{KEYS}"}))
    WRITE_KEYS = Grant(
        one=frozenset(
            {
                f"$JS.API.STREAM.MSG.GET.KV_{KEYS}",
                f"$JS.API.STREAM.MSG.DELETE.KV_{KEYS}",  # overwrites what is erased
                f"$KV.{KEYS}.*",
            }
        )
    )
    KEEP_INVOICE_KEYS = Grant(
        one=frozenset({f"$JS.API.STREAM.MSG.GET.KV_{KEYS}", f"$KV.{KEYS}.{INVOICE_KEYS}.*"})
    )
    RENEW_LEASES = Grant(within=frozenset({requests.RENEW_LEASES.subject}))
    ANSWER_LEASES = Grant(answers=frozenset({requests.RENEW_LEASES.subject}))
    ASK_WHY_TASKS_WAIT = Grant(within=frozenset({requests.EXPLAIN_WAITING.subject}))
    ANSWER_WHY_TASKS_WAIT = Grant(answers=frozenset({requests.EXPLAIN_WAITING.subject}))
    ASK_MONTH = Grant(within=frozenset({requests.ASK_MONTH.subject}))
    ANSWER_MONTH = Grant(answers=frozenset({requests.ASK_MONTH.subject}))
    TAKE_USED_KEYS = Grant(answers=frozenset({requests.REPORT_USED_KEYS.subject}))
