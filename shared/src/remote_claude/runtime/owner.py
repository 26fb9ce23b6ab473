"""The owner of an embedded stack: one person, one organisation, one API key, made at first start.

Each service says its own part of it as an event (users the organisation, auth the key, billing the plan), every time
it starts, guarded by 0: what has been recorded before is not recorded again.
"""

from __future__ import annotations

import getpass
import json
from dataclasses import dataclass
from pathlib import Path

from remote_claude.access import credential_secrets
from remote_claude.runtime.durable_files import write_private
from remote_claude.runtime.ids import new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOwner:
    """Who owns this stack. `api_key` is the secret itself; the log gets its hash only."""

    org: str
    user: str
    key: str
    name: str
    api_key: str


def api_key_file(path: Path) -> Path:
    """Where the key itself is stored: beside the owner's file, alone in a file of its own."""
    return path.with_name("api_key")


def load(path: Path) -> LocalOwner:
    """Read the owner's file, and the key beside it."""
    return LocalOwner(**json.loads(path.read_text()), api_key=api_key_file(path).read_text().strip())


def ensure(path: Path) -> LocalOwner:
    """The owner of this stack; made, readable by nobody else, when there is none yet."""
    if not path.exists():
        write_private(api_key_file(path), credential_secrets.generate() + "\n")
        made = {"org": new_id("org"), "user": new_id("user"), "key": new_id("key"), "name": getpass.getuser()}
        write_private(path, json.dumps(made))
    return load(path)
