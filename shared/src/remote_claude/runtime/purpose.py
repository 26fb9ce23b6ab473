"""What a process connects for."""

from __future__ import annotations

from enum import Enum


class Purpose(Enum):
    """A log is worked with only while it is whole; it is maintained only while nobody works with it."""

    WORK = "work"
    LOOK = "look"
    MAINTAIN = "maintain"
