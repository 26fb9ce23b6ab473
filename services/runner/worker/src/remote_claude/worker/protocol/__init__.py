"""How a worker and its runner talk: messages, and the frames that some of them carry."""

from remote_claude.worker.protocol import frames, messages
from remote_claude.worker.protocol.codec import Malformed

__all__ = ["Malformed", "frames", "messages"]
