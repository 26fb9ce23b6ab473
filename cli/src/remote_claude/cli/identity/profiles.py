"""Profiles: one for each server that one is signed in at, with the organisation to act for."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from remote_claude.cli import config
from remote_claude.cli.errors import CliError, Exit

LOCAL = "local"
"""The embedded stack of this home. It is no entry of the file."""
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Profile:
    """A server, and whom one is there. `store` is where the tokens are: `keyring` or `file`."""

    name: str
    url: str
    store: str
    org: str | None = None


def path() -> Path:
    """The file with all of them."""
    return config.home() / "profiles.json"


def load() -> tuple[dict[str, Profile], str | None]:
    """Every profile by name, and the one that is used unless another is named. Raises `CliError`."""
    try:
        content = json.loads(path().read_text())
        found = {name: Profile(name=name, **values) for name, values in content["profiles"].items()}
        return found, content.get("current")
    except FileNotFoundError:
        return {}, None
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise CliError(
            f"{path()} can't be read ({error}): remove it, then sign in again with `rclaude login`",
            Exit.USAGE,
        ) from error


def save(profiles: dict[str, Profile], current: str | None) -> None:
    """Write the file, whole or not at all, for its owner only."""
    listed = {
        name: {key: value for key, value in asdict(profile).items() if key != "name"}
        for name, profile in profiles.items()
    }
    write_private(path(), json.dumps({"current": current, "profiles": listed}, indent=1, sort_keys=True))


def write_private(file: Path, text: str) -> None:
    """Write a file that its owner alone may read, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f"{file.name}.{os.getpid()}.new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(text + "\n")
    draft.replace(file)


def selected() -> Profile | None:
    """The profile that `--profile` or `RCLAUDE_PROFILE` names, or the current one; None for the embedded stack.

    Raises `CliError` for a name that is none.
    """
    named = os.environ.get("RCLAUDE_PROFILE")
    if not named and not path().exists():
        return None
    profiles, current = load()
    name = named or current
    if name in (None, "", LOCAL):
        return None
    if name not in profiles:
        known = ", ".join([LOCAL, *sorted(profiles)])
        raise CliError(
            f"there is no profile {name!r}; there are: {known}. `rclaude login` adds one", Exit.USAGE
        )
    return profiles[name]


def check_name(name: str) -> str:
    """Raises `CliError` for what can't name a profile."""
    if not NAME.fullmatch(name) or name == LOCAL:
        raise CliError(
            f"not a name for a profile: {name!r}; take small letters, digits, dots and dashes, and not {LOCAL!r}",
            Exit.USAGE,
        )
    return name
