"""For how long the content of a task is kept."""

from __future__ import annotations

from datetime import datetime, timedelta

from remote_claude.contracts.billing import Retention
from remote_claude.contracts.gateway import ContentKind
from remote_claude.eventsourcing import timestamp


def days(retention: Retention) -> dict[ContentKind, int | None]:
    """For how many days each kind is kept; None for always."""
    return {
        "output": retention.output_days,
        "artifacts": retention.artifacts_days,
        "checkpoints": retention.checkpoints_days,
    }


def kept_until(retention: Retention, finished_at: str) -> dict[ContentKind, str | None]:
    """When the content of a task that ended at `finished_at` is removed; None for never."""
    end = datetime.fromisoformat(finished_at)
    return {
        kind: timestamp(end + timedelta(days=kept)) if kept is not None else None
        for kind, kept in days(retention).items()
    }


def cutoffs(retention: Retention, now: datetime) -> dict[ContentKind, str]:
    """For each kind that is not kept for always: content of tasks that ended before this time is due."""
    return {
        kind: timestamp(now - timedelta(days=kept))
        for kind, kept in days(retention).items()
        if kept is not None
    }
