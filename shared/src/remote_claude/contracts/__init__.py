"""The published events: the only thing that services share about each other.

One module per producer. The wire name and the version of an event are constants; its fields are only ever added,
with defaults. Anything else is a new version with an upcaster.
"""

from remote_claude.contracts.base import Event, Sealed, canonical_json
from remote_claude.contracts.registry import EVENTS, REGISTRY, UndecodableEvent, UnknownEvent, UnknownVersion

__all__ = [
    "EVENTS",
    "REGISTRY",
    "Event",
    "Sealed",
    "UndecodableEvent",
    "UnknownEvent",
    "UnknownVersion",
    "canonical_json",
]
