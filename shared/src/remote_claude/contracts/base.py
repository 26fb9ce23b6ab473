"""What every published event is: frozen, named on the wire, versioned."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

SAFE_INTEGER = 2**53

Quantity = Annotated[
    int,
    Field(ge=0),
    PlainSerializer(lambda n: n if n <= SAFE_INTEGER else str(n), return_type=int | str),
]
"""A count in the smallest unit. Above 2^53 it is written as a string, so that any JSON reader keeps it exact."""


class Value(BaseModel):
    """A part of an event. Fields that a newer release added are dropped by an older reader."""

    # a validator is built at its first use: a process meets few of the events
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Event(Value):
    """A published event. `type` and `version` are its name on the wire: constants, never derived from a path.

    Its subject is `ev.<producer>.<org>.<aggregate>.<id>`, with `_` for `org` where there is no organisation.
    """

    type: ClassVar[str]
    version: ClassVar[int]
    written: ClassVar[int | None] = None  # the version to write while older releases still read the log
    producer: ClassVar[str]
    aggregate: ClassVar[str]
    in_organisation: ClassVar[bool] = True

    def to_json(self) -> bytes:
        """Canonical JSON (RFC 8785: sorted keys, no white space, no floats)."""
        return canonical_json(self.model_dump(mode="json"))


class Sealed(Value):
    """Text that only the holder of a data key can read: AES-256-GCM under the key of an organisation or a person.

    `key` names the data key (`org_...`, `user_...`); `box` is base64url of nonce and ciphertext.
    Deleting the data key erases the text everywhere, the log included.
    """

    key: str
    box: str


def canonical_json(value: Any) -> bytes:
    """RFC 8785 for what we store: objects with ASCII keys, strings, integers of up to 64 bits, booleans, null."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
