"""What the runner reads off the log."""

from remote_claude.contracts.gateway import (
    PermissionAnswered,
    TaskCancellationRequested,
    TaskMessageSent,
    TaskSubmitted,
)
from remote_claude.contracts.scheduler import (
    RunnerLost,
    TaskCancelled,
    TaskFailed,
    TaskSucceeded,
    TaskTimedOut,
)
from remote_claude.contracts.users import (
    ModelChosen,
    MonthlyBudgetSet,
    OrgPolicySet,
    SecretRemoved,
    SecretStored,
)
from remote_claude.runner.projections.held import HeldView
from remote_claude.runner.projections.pull_requests import PullRequestsView
from remote_claude.runner.projections.threads import ThreadsView
from remote_claude.runtime.broker.uses import Use

INTERRUPTING = frozenset(
    e.type
    for e in (
        TaskCancellationRequested,
        TaskMessageSent,
        PermissionAnswered,
        RunnerLost,
        TaskSucceeded,
        TaskFailed,
        TaskCancelled,
        TaskTimedOut,
    )
)
"""The events that concern an attempt while it runs."""

VAULT = frozenset({SecretStored.type, SecretRemoved.type, ModelChosen.type})
POLICY = frozenset({OrgPolicySet.type, MonthlyBudgetSet.type})
VIEWS = HeldView.handles | PullRequestsView.handles | ThreadsView.handles
READS = VIEWS | INTERRUPTING | VAULT | POLICY | {TaskSubmitted.type}
"""The events that the runner reads: assignments, what ends them, the task itself, its secrets, and its organisation's policy."""

USES: frozenset[Use] = frozenset({Use.READ_KEYS, Use.RENEW_LEASES, Use.WRITE_OUTPUT, Use.ASK_MONTH})
"""What the runner uses of the broker besides the log."""
