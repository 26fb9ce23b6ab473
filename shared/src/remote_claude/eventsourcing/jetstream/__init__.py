"""The event log on NATS JetStream: group commit, direct reads, an ordered consumer, the streams themselves."""

from remote_claude.eventsourcing.jetstream.event_log import JetStreamEventLog

__all__ = ["JetStreamEventLog"]
