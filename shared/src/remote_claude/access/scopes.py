"""What a credential may be used for: the scopes that auth records and the verifier checks."""

from __future__ import annotations

from collections.abc import Collection

READ = ":read"

SCOPES = {
    "tasks": "submit and cancel tasks, upload, and all that tasks:read allows",
    "tasks:read": "see tasks, their output and their results, live too",
    "billing": "see use and bills",
    "org": "change the organisation, its members, its webhooks and its API keys, and all that org:read allows",
    "org:read": "see the organisation, its members, its webhooks and its API keys",
    "runners": "join machines as runners of the organisation, and see them",
    "account": "your own profile, sign-ins and sessions, in every organisation of yours",
    "operations": "for the operator of the installation: see what runs for every organisation (/v1/status)",
}
"""Scope to what it allows."""

ORG_SCOPES = ("tasks", "billing", "org")
"""Everything inside one organisation: what a key has that was issued without any scope named."""

SESSION_SCOPES = (*ORG_SCOPES, "runners", "account")
"""What a person who has signed in may use: the role in the organisation decides further."""

ALL_SCOPES = (*SESSION_SCOPES, "operations")
"""Everything: what the owner of an embedded stack has."""


def allows(given: Collection[str], needed: str) -> bool:
    """Whether scopes allow what needs one. A scope allows what its own `:read` does."""
    return needed in given or (needed.endswith(READ) and needed.removesuffix(READ) in given)
