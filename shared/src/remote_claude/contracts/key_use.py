"""Which API keys were used: a request on core NATS to auth, which records it at most once an hour for each key."""

from remote_claude.contracts.base import Value

SUBJECT = "keys.used"


class UsedKey(Value):
    """The last use of a key that a process has seen. `at` is RFC 3339, UTC."""

    key: str
    org: str
    at: str


class UsedKeys(Value):
    """What one process has seen since it last reported."""

    keys: tuple[UsedKey, ...]


class UsedKeysTaken(Value):
    """The report has been taken."""
