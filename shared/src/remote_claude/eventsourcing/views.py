"""What a read model has to say for the projector to keep it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from remote_claude.eventsourcing.events import RecordedEvent

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from sqlalchemy import MetaData


class View(ABC):
    """A read model: its tables, the events it folds, and how.

    `name` is `<service>_<view>` and also the PostgreSQL schema that holds its tables and its checkpoint.
    `version` rises whenever `apply` or the tables change; a view of another version is built beside the old one.
    `tables` declares the tables without a schema. `handles` are the wire names that `apply` wants to see.
    `pace` is in seconds from one transaction to the next while events keep coming; the first of them never waits.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    tables: ClassVar[MetaData]
    handles: ClassVar[frozenset[str]]
    pace: ClassVar[float] = 0.025

    @abstractmethod
    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        """Fold a batch, in order, in the transaction that also moves the checkpoint.

        Table names are unqualified: the search path is the schema being built.
        Deterministic: no clock, no random, no sequences, nothing but the events.
        Raise for an event that can't be folded; the projector finds it and parks it.
        """
