"""What auth reads off the log."""

from remote_claude.runtime.broker.uses import Use

READS: frozenset[str] = frozenset()
"""The events that auth reads: none yet."""

USES: frozenset[Use] = frozenset({Use.WRITE_KEYS})
"""What auth uses of the broker besides the log."""
