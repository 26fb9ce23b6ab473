"""What auth reads off the log."""

from remote_claude.auth.projections.credentials import CredentialsView
from remote_claude.runtime.broker.uses import Use

READS: frozenset[str] = CredentialsView.handles
"""The events that auth reads."""

USES: frozenset[Use] = frozenset({Use.WRITE_KEYS})
"""What auth uses of the broker besides the log."""
