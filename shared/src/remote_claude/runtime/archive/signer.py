"""Which key signs the heads of an archive: one, noted in the archive itself, whatever process keeps it."""

from __future__ import annotations

import socket
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from remote_claude.runtime.archive.errors import HeadsOfAnotherKey
from remote_claude.runtime.archive.heads import Heads

TABLE = """
CREATE TABLE IF NOT EXISTS log.signer (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), public_key bytea NOT NULL, place text NOT NULL
)
"""
CLAIM = "INSERT INTO log.signer (public_key, place) VALUES (%s, %s) ON CONFLICT (one) DO NOTHING"
REPLACE = """
INSERT INTO log.signer (public_key, place) VALUES (%s, %s)
ON CONFLICT (one) DO UPDATE SET public_key = excluded.public_key, place = excluded.place
"""


class Signer(NamedTuple):
    """The raw public key, and where its heads are: `host:folder`."""

    public_key: bytes
    place: str


async def read(connection: AsyncConnection[Any]) -> Signer | None:
    """The archive's signer; None where no head has been signed yet."""
    await connection.execute(TABLE)
    row = await (await connection.execute("SELECT public_key, place FROM log.signer")).fetchone()
    return Signer(bytes(row[0]), row[1]) if row is not None else None


async def claim(connection: AsyncConnection[Any], heads: Heads, *, replace: bool = False) -> None:
    """Note the key of `heads` as the archive's, made now if it is missing; `replace` does so for another one too.

    Raises `HeadsOfAnotherKey` where the archive has another key, `OSError` where this one can't be read or made.
    """
    known = await read(connection)
    if known is None or replace:
        own = heads.public_key(make=True)
        await connection.execute(
            REPLACE if replace else CLAIM, [own, f"{socket.gethostname()}:{heads.folder}"]
        )
        known = await read(connection)
    if known is not None and known.public_key != heads.public_key():
        raise HeadsOfAnotherKey(
            f"the heads of this archive are signed with another key than {heads.key_file}; they are in {known.place}. "
            "Set RCLAUDE_HEADS and RCLAUDE_HEAD_KEY to one place for all processes, or RCLAUDE_ARCHIVE=false where that "
            "place can't be reached. If that key is lost: `rclaude-admin log head --new-key`"
        )
