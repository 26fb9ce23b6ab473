"""Why somebody may not do what they ask for."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from remote_claude.contracts.refusals import Refusal


class NotAdmitted(Refusal):
    """Somebody may not do what they ask for. The message says why, and what to do."""


class Unauthenticated(NotAdmitted):
    """The credential is missing, malformed, unknown, expired or revoked."""

    code: ClassVar[str] = "unauthenticated"
    status: ClassVar[int] = 401


class ScopeMissing(NotAdmitted):
    """The credential is good, but not for this."""

    code: ClassVar[str] = "scope_missing"
    status: ClassVar[int] = 403

    def __init__(self, needed: str, given: Collection[str]) -> None:
        has = ", ".join(sorted(given)) or "none"
        super().__init__(
            f"This needs the scope `{needed}`; the credential has: {has}. Use one that was issued with it."
        )


class RoleMissing(NotAdmitted):
    """The person's role in the organisation does not allow this."""

    code: ClassVar[str] = "role_missing"
    status: ClassVar[int] = 403

    def __init__(self, role: str, needed: Collection[str]) -> None:
        super().__init__(
            f"Your role is {role}; this needs one of: {', '.join(sorted(needed))}. Ask an owner of the organisation."
        )


class PersonRequired(NotAdmitted):
    """A service account asks for what only a person has: an account, sessions, organisations of their own."""

    code: ClassVar[str] = "person_required"
    status: ClassVar[int] = 403

    def __init__(self) -> None:
        super().__init__("This is for people, and the key is of a service account. Sign in: `rclaude login`.")


class OrgNotFound(NotAdmitted):
    """The organisation that the request names is unknown, or the person is no member: nobody can tell which."""

    code: ClassVar[str] = "org_not_found"
    status: ClassVar[int] = 404

    def __init__(self, org: str) -> None:
        super().__init__(f"You are in no organisation {org[:64]!r}. `rclaude org list` shows yours.")


class NoOrganisation(NotAdmitted):
    """The person is in no organisation at all, or not yet."""

    code: ClassVar[str] = "no_organisation"
    status: ClassVar[int] = 403

    def __init__(self) -> None:
        super().__init__("You are in no organisation. Make one: `rclaude org create NAME`.")


class CsrfRefused(NotAdmitted):
    """A request with a session cookie that may come from another site."""

    code: ClassVar[str] = "csrf_refused"
    status: ClassVar[int] = 403

    def __init__(self, why: str) -> None:
        super().__init__(f"{why} Send the `csrf_token` of `GET /v1/session` as the header `X-CSRF-Token`.")
