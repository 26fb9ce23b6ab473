"""What a key may be used for: the scopes that auth records and the verifier checks."""

from __future__ import annotations

from collections.abc import Collection

READ = ":read"

SCOPES = {
    "tasks": "submit and cancel tasks, upload, and all that tasks:read allows",
    "tasks:read": "see tasks, their output and their results, live too",
    "billing": "see use and bills",
    "operations": "see what runs and how far it is (/v1/status)",
}
"""Scope to what it allows."""

ALL_SCOPES = ("tasks", "billing", "operations")
"""Everything: what a key has that was issued without any scope named."""


def allows(given: Collection[str], needed: str) -> bool:
    """Whether scopes allow what needs one. A scope allows what its own `:read` does."""
    return needed in given or (needed.endswith(READ) and needed.removesuffix(READ) in given)
