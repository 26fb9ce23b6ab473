"""An event through three releases. Only tests know it.

v1 `{parcel, weight}` in grams as text; v2 `{parcel, grams}`; v3 `{parcel, kind, grams}`, where the parcels of old
were all boxes.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from psycopg import AsyncConnection
from sqlalchemy import BigInteger, MetaData
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from remote_claude.contracts import Event
from remote_claude.contracts.registry import Registry
from remote_claude.contracts.versions import Data, downcasts, upcasts
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.postgres.tables import upsert
from remote_claude.eventsourcing.views import View


class ParcelWeighedV1(Event):
    type: ClassVar[str] = "ParcelWeighed"
    version: ClassVar[int] = 1
    producer: ClassVar[str] = "post"
    aggregate: ClassVar[str] = "parcel"

    parcel: str
    weight: str


class ParcelWeighedV2(Event):
    type: ClassVar[str] = "ParcelWeighed"
    version: ClassVar[int] = 2
    producer: ClassVar[str] = "post"
    aggregate: ClassVar[str] = "parcel"

    parcel: str
    grams: int


class ParcelWeighed(Event):
    type: ClassVar[str] = "ParcelWeighed"
    version: ClassVar[int] = 3
    producer: ClassVar[str] = "post"
    aggregate: ClassVar[str] = "parcel"

    parcel: str
    kind: str
    grams: int


class ParcelWeighedCautiously(ParcelWeighed):
    """The same of a release whose neighbours read no further than version 2."""

    version: ClassVar[int] = 3
    written: ClassVar[int | None] = 2


@upcasts(ParcelWeighed, 1)
def upcast_parcel_weighed_v1(data: Data) -> Data:
    return {"parcel": data["parcel"], "grams": int(data["weight"])}


@upcasts(ParcelWeighed, 2)
def upcast_parcel_weighed_v2(data: Data) -> Data:
    return {**data, "kind": "box"}


@downcasts(ParcelWeighed, 3)
def downcast_parcel_weighed_v3(data: Data) -> Data:
    return {"parcel": data["parcel"], "grams": data["grams"]}


STEPS = [upcast_parcel_weighed_v1, upcast_parcel_weighed_v2]
FIRST = Registry([ParcelWeighedV1])
SECOND = Registry([ParcelWeighedV2], STEPS[:1])
THIRD = Registry([ParcelWeighed], STEPS)
BETWEEN = Registry([ParcelWeighedCautiously], [*STEPS, downcast_parcel_weighed_v3])
"""Reads version 3, writes version 2: what runs before everybody reads version 3."""


class ScalesTables(SQLModel, registry=registry()):
    """The tables of `Scales`."""


class ScalesRow(ScalesTables, table=True):
    __tablename__ = "parcel"
    parcel: str = Field(primary_key=True)
    kind: str
    grams: int = Field(sa_type=BigInteger)


class Scales(View):
    """Each parcel's last weight, by the newest model only."""

    name, version = "test_scales", 1
    tables: ClassVar[MetaData] = ScalesTables.metadata
    handles = frozenset({"ParcelWeighed"})

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        weighed: dict[str, dict[str, Any]] = {}
        for recorded in events:
            event: ParcelWeighed = recorded.event
            weighed[event.parcel] = {"parcel": event.parcel, "kind": event.kind, "grams": event.grams}
        await upsert(connection, ScalesRow, weighed.values())


class OldScales(Scales):
    """The same view in the release of version 2."""

    async def apply(self, connection: AsyncConnection[Any], events: Sequence[RecordedEvent]) -> None:
        rows = [{"parcel": e.event.parcel, "kind": "", "grams": e.event.grams} for e in events]
        await upsert(connection, ScalesRow, rows)
