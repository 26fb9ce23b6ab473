"""What can be wrong between a view and its log, and how a codec says what is wrong with an event."""

from __future__ import annotations

# The published events can't import this package, so a codec's exceptions are recognised by their `code`.
UNKNOWN_EVENT = "unknown_event"  # a type that only a newer release knows: skipped
UNKNOWN_VERSION = (
    "unknown_event_version"  # a known type, a version this release can't read: the view stops before it
)
# Any other exception of a codec: the event is damaged, and parked.


class LogLostTail(Exception):
    """The log ends before what a view has already applied."""

    code = "log_lost_tail"

    def __init__(self, view: str, position: int, last: int) -> None:
        super().__init__(
            f"view {view} has applied position {position}, but the log ends at {last}: the broker lost its tail. "
            "Stop the services and bring the log back with `rclaude-admin log restore`; "
            f"if the lost events are gone for good, rebuild every view (rclaude-admin rebuild {view})."
        )
        self.view, self.position, self.last = view, position, last


class RebuildInProgress(Exception):
    """Another process is rebuilding the same view. Wait for it."""

    code = "rebuild_in_progress"

    def __init__(self, view: str) -> None:
        super().__init__(f"view {view} is being rebuilt by another process; wait for it to finish")
        self.view = view


class ViewStopped(Exception):
    """A view met an event that this release can't read."""

    code = "view_stopped"

    def __init__(self, view: str, reason: str) -> None:
        super().__init__(f"view {view} stopped: {reason}")
        self.view, self.reason = view, reason


class CheckpointMoved(Exception):
    """Somebody else moved the checkpoint, or a rebuild was swapped in: read it again and go on from there."""

    code = "checkpoint_moved"


class RightsMissing(Exception):
    """The role may not do in PostgreSQL what views and archive need."""

    code = "postgres_rights_missing"
