"""What a kept checkpoint consists of: the runner keeps it, the gateway gives it out."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Manifest(BaseModel):
    """The archive of a checkpoint in chunks, by SHA-256. `size` is in bytes."""

    model_config = ConfigDict(frozen=True)

    version: int = 1
    turn: int
    messages: int
    size: int
    chunks: tuple[str, ...]
