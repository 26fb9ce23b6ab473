"""What the runner reads off the log."""

from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.runner.executor import INTERRUPTING
from remote_claude.runner.projections.held import HeldView

READS = HeldView.handles | INTERRUPTING | {TaskSubmitted.type}
"""The events that the runner reads: assignments, what ends them, and the task itself."""
