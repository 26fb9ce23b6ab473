"""The tokens of a profile: kept in the system's keyring or in a file for its owner only, and refreshed in time."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from remote_claude.cli import config
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.identity.profiles import Profile, write_private
from remote_claude.client.credentials import CLIENT_ID, EARLY_S

if TYPE_CHECKING:
    from remote_claude.client.models import IssueTokenForm, TokenAnswer

SERVICE = "rclaude"


@dataclass(frozen=True, slots=True)
class StoredTokens:
    """An API key, or an access token with the refresh token that gives the next. `expires_at` is in seconds since 1970."""

    api_key: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    expires_at: float = 0.0

    @classmethod
    def of(cls, answer: TokenAnswer) -> StoredTokens:
        """From the answer of the token endpoint."""
        return cls(
            access_token=str(answer["access_token"]),
            refresh_token=str(answer["refresh_token"]),
            expires_at=time.time() + float(answer["expires_in"]),
        )


def bearer(profile: Profile) -> str:
    """What authenticates a request now. Raises `CliError` where one has to sign in again."""
    tokens = _read(profile)
    if tokens.api_key:
        return tokens.api_key
    if not tokens.access_token or time.time() > tokens.expires_at - EARLY_S:
        with _lock(profile):
            tokens = _read(profile)  # another command may have refreshed it meanwhile
            if not tokens.access_token or time.time() > tokens.expires_at - EARLY_S:
                tokens = _refresh(profile, tokens)
    return str(tokens.access_token)


def keep(profile: Profile, tokens: StoredTokens) -> None:
    """Keep the tokens of a profile."""
    text = json.dumps(asdict(tokens))
    if profile.store == "keyring":
        import keyring

        keyring.set_password(SERVICE, _account(profile), text)
    else:
        write_private(_file(profile), text)


def forget(profile: Profile) -> StoredTokens | None:
    """Remove the tokens of a profile, and return them."""
    try:
        tokens = _read(profile)
    except CliError:
        tokens = None
    if profile.store == "keyring":
        import keyring
        from keyring.errors import KeyringError

        with suppress(KeyringError):
            keyring.delete_password(SERVICE, _account(profile))
    else:
        _file(profile).unlink(missing_ok=True)
    return tokens


def store() -> str:
    """Where tokens can be kept on this machine: `keyring` where one works, otherwise `file`."""
    import keyring
    from keyring.errors import KeyringError

    try:
        if keyring.get_keyring().priority < 1:
            return "file"
        keyring.set_password(SERVICE, "check", "works")
        works = keyring.get_password(SERVICE, "check") == "works"
        keyring.delete_password(SERVICE, "check")
    except (KeyringError, RuntimeError, OSError):
        return "file"
    return "keyring" if works else "file"


def request(url: str, grant_type: str, **form: str) -> TokenAnswer:
    """Ask the token endpoint. Raises `CliError` with the error's code."""
    from remote_claude.cli.client import unsigned
    from remote_claude.client import operations

    body: IssueTokenForm = {"grant_type": grant_type, "client_id": CLIENT_ID, **form}  # type: ignore[typeddict-item]  # the callers' names are fields of it
    return unsigned(url, operations.issue_token(body))


def _refresh(profile: Profile, tokens: StoredTokens) -> StoredTokens:
    if not tokens.refresh_token:
        raise _signed_out(profile)
    try:
        answer = request(profile.url, grant_type="refresh_token", refresh_token=tokens.refresh_token)
    except CliError as error:
        if error.code == "invalid_grant":
            raise _signed_out(profile) from error
        raise
    fresh = StoredTokens.of(answer)
    keep(profile, fresh)
    return fresh


def _read(profile: Profile) -> StoredTokens:
    try:
        if profile.store == "keyring":
            import keyring

            text = keyring.get_password(SERVICE, _account(profile))
        else:
            text = _file(profile).read_text()
        return StoredTokens(**json.loads(text or ""))
    except (OSError, ValueError, TypeError):
        raise _signed_out(profile) from None


def _signed_out(profile: Profile) -> CliError:
    return CliError(
        f"you are not signed in at {profile.url} any more: `rclaude login --profile {profile.name}`",
        Exit.REFUSED,
        code="signed_out",
    )


@contextmanager
def _lock(profile: Profile) -> Iterator[None]:
    """One command at a time refreshes: a refresh token is good once."""
    file = _file(profile).with_suffix(".lock")
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with file.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def _file(profile: Profile) -> Path:
    return config.home() / "tokens" / f"{profile.name}.json"


def _account(profile: Profile) -> str:
    return f"{config.home()}:{profile.name}"
