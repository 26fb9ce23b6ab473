"""`nats-server` and PostgreSQL as supervised children, with their data in `RCLAUDE_HOME`.

with Home.from_env(env) as home:                      # one stack per home
    servers = servers_for(home, env, users)           # outside ones, or children to run
    async with Supervisor([*servers.children, services], log_dir=home.log, on_change=write_pids) as supervisor:
        await supervisor.wait()
"""

from remote_claude.runtime.embedded.child_process import Child, RunAs
from remote_claude.runtime.embedded.errors import (
    DataVersionMismatch,
    EmbeddedError,
    HomeInUse,
    HomeUnusable,
    NatsBinaryTooOld,
    NoUsableUser,
    PortInUse,
    ServerDidNotStart,
    ServerNotFound,
    ServerSetupFailed,
    StackAlreadyRunning,
)
from remote_claude.runtime.embedded.home import Home, HomeUse
from remote_claude.runtime.embedded.nats import NatsServer, NatsUser, find_nats
from remote_claude.runtime.embedded.postgres import PostgresServer, find_postgres
from remote_claude.runtime.embedded.servers import Servers, servers_for
from remote_claude.runtime.embedded.supervisor import Backoff, Supervisor

__all__ = [
    "Backoff",
    "Child",
    "DataVersionMismatch",
    "EmbeddedError",
    "Home",
    "HomeInUse",
    "HomeUnusable",
    "HomeUse",
    "NatsBinaryTooOld",
    "NatsServer",
    "NatsUser",
    "NoUsableUser",
    "PortInUse",
    "PostgresServer",
    "RunAs",
    "ServerDidNotStart",
    "ServerNotFound",
    "ServerSetupFailed",
    "Servers",
    "StackAlreadyRunning",
    "Supervisor",
    "find_nats",
    "find_postgres",
    "servers_for",
]
