"""Event sourcing: what an event is, what a log promises, and what a view has to say.

The two backends are packages of their own: `jetstream` keeps the log, `postgres` keeps the views. Nothing here knows
either of them.
"""

from remote_claude.eventsourcing.command_handler import CommandHandler, Decider, Handled
from remote_claude.eventsourcing.errors import CheckpointMoved, LogLostTail, RebuildInProgress, ViewStopped
from remote_claude.eventsourcing.events import (
    Clock,
    Codec,
    Context,
    NewEvent,
    NewEventId,
    RecordedEvent,
    caused_id,
    new_event_id,
    parse_timestamp,
    stream_id,
    timestamp,
)
from remote_claude.eventsourcing.log import (
    AppendRefused,
    ConcurrencyConflict,
    EventLog,
    EventLogError,
    EventTooLarge,
    LogIncomplete,
    LogTrimmed,
    LogUnavailable,
    NotPermitted,
    PositionAhead,
)
from remote_claude.eventsourcing.memory import InMemoryEventLog
from remote_claude.eventsourcing.positions import Reached
from remote_claude.eventsourcing.stats import LogStats
from remote_claude.eventsourcing.tail import Tail
from remote_claude.eventsourcing.views import View

__all__ = [
    "AppendRefused",
    "CheckpointMoved",
    "Clock",
    "Codec",
    "CommandHandler",
    "ConcurrencyConflict",
    "Context",
    "Decider",
    "EventLog",
    "EventLogError",
    "EventTooLarge",
    "Handled",
    "InMemoryEventLog",
    "LogIncomplete",
    "LogLostTail",
    "LogStats",
    "LogTrimmed",
    "LogUnavailable",
    "NewEvent",
    "NewEventId",
    "NotPermitted",
    "PositionAhead",
    "Reached",
    "RebuildInProgress",
    "RecordedEvent",
    "Tail",
    "View",
    "ViewStopped",
    "caused_id",
    "new_event_id",
    "parse_timestamp",
    "stream_id",
    "timestamp",
]
