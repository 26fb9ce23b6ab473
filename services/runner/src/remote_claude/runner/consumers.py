"""What the runner reads off the log."""

from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.runner.assignments import INTERRUPTING
from remote_claude.runner.projections.held import HeldView
from remote_claude.runtime.broker.uses import Use

READS = HeldView.handles | INTERRUPTING | {TaskSubmitted.type}
"""The events that the runner reads: assignments, what ends them, and the task itself."""

USES: frozenset[Use] = frozenset({Use.READ_KEYS, Use.RENEW_LEASES, Use.WRITE_OUTPUT})
"""What the runner uses of the broker besides the log."""
