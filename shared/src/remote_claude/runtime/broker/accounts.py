"""The accounts of a broker of the product: one for the streams, one for each service, as `accounts.json` has them.

The file is generated from the published events and from what the services declare (`broker_permissions.py`, `make docs`); a test
keeps it fresh. It is what the broker's configuration has under `accounts`, with the name of a seed in place of each key.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

FILE = "accounts.json"
ADMIN = "admin"
"""The user that may do everything: it makes the streams, and is no service's."""
TOGETHER = "services"
"""The user of a process that runs all services, as an embedded stack does: what each may, and no more."""


def accounts() -> dict[str, Any]:
    """The block `accounts`, by the account's name."""
    known: dict[str, Any] = json.loads(files(__package__).joinpath(FILE).read_text())
    return known


def credentials(known: dict[str, Any]) -> list[str]:
    """The names of all users, which are those of their seeds."""
    return [user["seed"] for account in known.values() for user in account.get("users", [])]
