"""What the runner reads off the log."""

from remote_claude.contracts.gateway import TaskSubmitted
from remote_claude.contracts.users import ModelChosen, SecretRemoved, SecretStored
from remote_claude.runner.assignments import INTERRUPTING
from remote_claude.runner.projections.held import HeldView
from remote_claude.runner.projections.pull_requests import PullRequestsView
from remote_claude.runtime.broker.uses import Use

VAULT = frozenset({SecretStored.type, SecretRemoved.type, ModelChosen.type})
READS = HeldView.handles | PullRequestsView.handles | INTERRUPTING | VAULT | {TaskSubmitted.type}
"""The events that the runner reads: assignments, what ends them, the task itself, and the secrets that it asks for."""

USES: frozenset[Use] = frozenset({Use.READ_KEYS, Use.RENEW_LEASES, Use.WRITE_OUTPUT})
"""What the runner uses of the broker besides the log."""
