"""Events of the auth service: identities, sessions, API keys."""

from typing import ClassVar, Literal

from remote_claude.contracts.base import Event, Sealed

SessionKind = Literal["browser", "cli"]
SignInMethod = Literal["link", "github", "google", "oidc", "device", "code", "github_token"]
RevocationReason = Literal["signed_out", "ended", "token_reused", "account_deleted"]


class AuthEvent(Event):
    producer: ClassVar[str] = "auth"
    aggregate: ClassVar[str] = "key"


class SessionEvent(AuthEvent):
    aggregate: ClassVar[str] = "session"
    in_organisation: ClassVar[bool] = False


class ApiKeyIssued(AuthEvent):
    """A key exists. Only its HMAC-SHA256 is kept; `prefix` is what a person recognises it by.

    `user` is a person, or a service account (`sa_...`). `name` is the owner's word for it, sealed by the organisation's key.
    """

    type: ClassVar[str] = "ApiKeyIssued"
    version: ClassVar[int] = 1

    key: str
    org: str
    user: str
    prefix: str
    hash: str
    scopes: tuple[str, ...]
    expires_at: str | None = None
    name: Sealed | None = None
    issued_by: str | None = None
    """The person who asked for it; None for an administrator and for an embedded stack's own."""


class ApiKeyUsed(AuthEvent):
    """The key was used at this time. Recorded at most once an hour."""

    type: ClassVar[str] = "ApiKeyUsed"
    version: ClassVar[int] = 1

    key: str
    org: str
    used_at: str


class ApiKeyRevoked(AuthEvent):
    """The key is refused from here on, on open connections too."""

    type: ClassVar[str] = "ApiKeyRevoked"
    version: ClassVar[int] = 1

    key: str
    org: str
    reason: str


class IdentityLinked(AuthEvent):
    """An account at a sign-in provider belongs to a person.

    `identity` derives from a keyed hash of issuer and subject, so that an account is linked once. The data key of the
    person is stored in `KEYS` before this is appended; it seals subject, name and e-mail. `email_hash` is keyed too; it is
    there only for an address that the provider has verified.
    """

    type: ClassVar[str] = "IdentityLinked"
    version: ClassVar[int] = 1
    aggregate: ClassVar[str] = "identity"
    in_organisation: ClassVar[bool] = False

    identity: str
    user: str
    provider: str
    subject: Sealed
    name: Sealed
    email: Sealed | None = None
    email_hash: str | None = None


class IdentityUnlinked(AuthEvent):
    """The account at a provider is nobody's from here on: its person took it away, or was erased."""

    type: ClassVar[str] = "IdentityUnlinked"
    version: ClassVar[int] = 1
    aggregate: ClassVar[str] = "identity"
    in_organisation: ClassVar[bool] = False

    identity: str
    user: str


class SessionOpened(SessionEvent):
    """A person has signed in. `hash` is the HMAC-SHA256 of the cookie's secret, or of the first refresh token.

    `client` is JSON of the address and the program that signed in, sealed by the person's key.
    """

    type: ClassVar[str] = "SessionOpened"
    version: ClassVar[int] = 1

    session: str
    user: str
    kind: SessionKind
    method: SignInMethod
    hash: str
    scopes: tuple[str, ...]
    expires_at: str
    client: Sealed | None = None


class SessionRefreshed(SessionEvent):
    """The refresh token was used, and another takes its place."""

    type: ClassVar[str] = "SessionRefreshed"
    version: ClassVar[int] = 1

    session: str
    user: str
    hash: str
    expires_at: str


class SessionRevoked(SessionEvent):
    """The session is refused from here on, with all its tokens, on open connections too."""

    type: ClassVar[str] = "SessionRevoked"
    version: ClassVar[int] = 1

    session: str
    user: str
    reason: RevocationReason


class DeviceAuthorized(AuthEvent):
    """A signed-in person has confirmed the code that a machine without a browser shows.

    `device` derives from a keyed hash of the code.
    """

    type: ClassVar[str] = "DeviceAuthorized"
    version: ClassVar[int] = 1
    aggregate: ClassVar[str] = "device"
    in_organisation: ClassVar[bool] = False

    device: str
    user: str
    session: str
    """The session in which it was confirmed."""


class SigningKeyRotated(AuthEvent):
    """Access tokens are signed with this key from now on. Those before it stay good until their tokens have expired.

    `x` and `y` are the public point on P-256, base64url; `private` is the PEM of the private key, sealed by auth's own key.
    """

    type: ClassVar[str] = "SigningKeyRotated"
    version: ClassVar[int] = 1
    aggregate: ClassVar[str] = "signing"
    in_organisation: ClassVar[bool] = False

    kid: str
    x: str
    y: str
    private: Sealed
