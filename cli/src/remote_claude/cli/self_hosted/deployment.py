"""The deployment of this home: written down before anything is made, so that it can be resumed and removed."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from remote_claude.cli import config
from remote_claude.cli.errors import CliError, Exit


@dataclass(frozen=True, slots=True)
class Deployment:
    """`settings` are environment variables of the runner; empty until everything is made."""

    provider: str
    name: str
    region: str
    profile: str | None = None
    settings: dict[str, str] = field(default_factory=dict)

    def save(self) -> None:
        """Whole or not at all, for its owner only."""
        place = path()
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = place.with_suffix(".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(self), file, indent=1, sort_keys=True)
            file.write("\n")
        draft.replace(place)


def path() -> Path:
    """The file in this home. It holds no credentials."""
    return config.home() / "self_hosted.json"


def load() -> Deployment | None:
    """What this home has deployed. Raises `CliError` when the file is damaged."""
    try:
        return Deployment(**json.loads(path().read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, OSError) as error:
        raise CliError(f"{path()} can't be read ({error}); correct it or remove it", Exit.USAGE) from error


def runner_settings() -> dict[str, str]:
    """For the environment of an embedded stack."""
    found = load()
    return found.settings if found is not None else {}
