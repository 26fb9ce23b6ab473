"""The file with the addresses of an embedded stack: written by the stack, read by its clients."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from remote_claude.runtime.broker.accounts import ADMIN
from remote_claude.runtime.durable_files import write_private
from remote_claude.runtime.embedded.home import Home

if TYPE_CHECKING:
    from remote_claude.runtime.settings import RuntimeSettings


class NotRunning(Exception):
    """No stack runs in this home."""

    code = "not_running"


@dataclass(slots=True, kw_only=True)
class StackFile:
    """Where a running stack is. Paths are absolute; `pids` are process numbers by role."""

    home: str
    pid: int
    version: str
    url: str
    org: str
    api_key: str
    nats_url: str
    nats_credentials: str | None
    """The administrator's. `nats_users` has everybody's, by the user's name."""
    postgres_dsn: str
    objects: str
    kek_file: str
    owner_file: str
    nats_ca: str | None = None
    nats_certificate: str | None = None
    nats_key: str | None = None
    nats_users: dict[str, str] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)

    def save(self) -> None:
        """Write it whole or not at all, for its owner only."""
        write_private(_path(Home(Path(self.home))), json.dumps(asdict(self), indent=1))

    def remove(self) -> None:
        """The stack is gone."""
        _path(Home(Path(self.home))).unlink(missing_ok=True)

    @classmethod
    def load(cls, home: Home | None = None) -> Self:
        """The stack that runs in a home (`RCLAUDE_HOME` when not given). Raises `NotRunning`."""
        home = home or Home.from_env(os.environ)
        try:
            known = cls(**json.loads(_path(home).read_text()))
        except FileNotFoundError:
            raise NotRunning(f"nothing runs in {home.root}: start it with `rclaude up`") from None
        except (ValueError, TypeError):
            raise NotRunning(
                f"{_path(home)} is damaged: `rclaude down`, then start the stack again with `rclaude up`"
            ) from None
        if not _alive(known.pid):
            raise NotRunning(f"the stack in {home.root} has ended: start it again with `rclaude up`")
        return known

    def settings(self, user: str = ADMIN) -> RuntimeSettings:
        """The settings of a process that works with this stack, as a user of its broker."""
        from remote_claude.runtime.settings import RuntimeSettings

        credentials = self.nats_users.get(user, self.nats_credentials)
        return RuntimeSettings(
            home=Path(self.home),
            nats_url=self.nats_url,
            nats_credentials=Path(credentials) if credentials else None,
            nats_ca=Path(self.nats_ca) if self.nats_ca else None,
            nats_certificate=Path(self.nats_certificate) if self.nats_certificate else None,
            nats_key=Path(self.nats_key) if self.nats_key else None,
            postgres_dsn=self.postgres_dsn,
            objects=self.objects,
            kek_file=Path(self.kek_file),
            owner_file=Path(self.owner_file),
        )


def _path(home: Home) -> Path:
    return home.run / "stack.json"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
