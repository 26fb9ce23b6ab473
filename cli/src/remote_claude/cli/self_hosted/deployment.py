"""The deployment of this home: written down before anything is made, so that it can be resumed and removed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from remote_claude.cli import config
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.identity.profiles import write_private
from remote_claude.cli.self_hosted.clouds.base import Answers


@dataclass(frozen=True, slots=True)
class Deployment:
    """`settings` are environment variables of the runner; empty until everything is made. `release` is that of the template."""

    answers: Answers
    settings: dict[str, str] = field(default_factory=dict)
    release: str = ""

    def save(self) -> None:
        """Whole or not at all, for its owner only."""
        write_private(path(), json.dumps(asdict(self), indent=1, sort_keys=True))


def path() -> Path:
    """The file in this home. It holds no credentials."""
    return config.home() / "self_hosted.json"


def load() -> Deployment | None:
    """What this home has deployed. Raises `CliError` when the file is damaged."""
    try:
        found = json.loads(path().read_text())
        return Deployment(Answers(**found.pop("answers")), **found)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise CliError(f"{path()} can't be read ({error}); correct it or remove it", Exit.USAGE) from error


def runner_settings() -> dict[str, str]:
    """For the environment of an embedded stack."""
    found = load()
    return found.settings if found is not None else {}
