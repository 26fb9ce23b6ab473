"""The owner of an embedded stack: one person, one organisation, one API key, made at first start.

Each service says its own part of it as an event (users the organisation, auth the key, billing the plan), every time
it starts, guarded by 0: what has been said before is said once.
"""

from __future__ import annotations

import getpass
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from remote_claude.access import api_keys
from remote_claude.runtime.ids import new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOwner:
    """Who owns this stack. `api_key` is the secret itself; the log gets its hash only."""

    org: str
    user: str
    key: str
    name: str
    api_key: str


def load(path: Path) -> LocalOwner:
    """Read the owner's file."""
    return LocalOwner(**json.loads(path.read_text()))


def ensure(path: Path) -> LocalOwner:
    """The owner of this stack; made, readable by nobody else, when there is none yet."""
    if path.exists():
        return load(path)
    owner = LocalOwner(
        org=new_id("org"),
        user=new_id("user"),
        key=new_id("key"),
        name=getpass.getuser(),
        api_key=api_keys.generate(),
    )
    draft = path.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(owner), file)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    return owner
