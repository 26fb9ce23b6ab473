"""The runner's end of the connections of its workers: one listener for all, one session for each attempt."""

from remote_claude.runner.sessions.channel import Channel, ChannelClosed, HttpChannel
from remote_claude.runner.sessions.listener import WorkerListener
from remote_claude.runner.sessions.openings import StreamNotOpened
from remote_claude.runner.sessions.worker_result import WorkerResult
from remote_claude.runner.sessions.worker_session import (
    OnFrames,
    OpenStream,
    WorkerLost,
    WorkerSession,
)

__all__ = [
    "Channel",
    "ChannelClosed",
    "HttpChannel",
    "OnFrames",
    "OpenStream",
    "StreamNotOpened",
    "WorkerListener",
    "WorkerLost",
    "WorkerResult",
    "WorkerSession",
]
