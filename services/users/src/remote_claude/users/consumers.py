"""What users reads off the log."""

from remote_claude.runtime.broker.uses import Use
from remote_claude.users.projections.directory import DirectoryView

READS = DirectoryView.handles
"""The events that users reads."""

USES: frozenset[Use] = frozenset({Use.WRITE_KEYS})
"""What users uses of the broker besides the log."""
