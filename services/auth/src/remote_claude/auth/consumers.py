"""What auth reads off the log."""

READS: frozenset[str] = frozenset()
"""The events that auth reads: none yet."""
