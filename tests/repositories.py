"""Real Git repositories for tests, away from the configuration of the user who runs them."""

import asyncio
import os
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from remote_claude.cli.repository import Repository, Sent, bundle, find
from remote_claude.worker.repository import MAX_RESULT_BYTES, Concluded, Prepared, conclude, prepare

USER = ("Ada Lovelace", "ada@example.com")
AGENT = ("shell", "agent@example.com")
TASK = "task_01"
BRANCH = f"rclaude/{TASK}"

Content = bytes | str


@contextmanager
def git_home(folder: Path) -> Iterator[None]:
    """A user with a name and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "gitconfig"
    config.write_text(f"[user]\n\tname = {USER[0]}\n\temail = {USER[1]}\n[init]\n\tdefaultBranch = main\n")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("GIT_")]:
            patch.delenv(name)
        patch.setenv("HOME", str(folder))
        patch.setenv("XDG_CONFIG_HOME", str(folder / ".config"))
        patch.setenv("GIT_CONFIG_GLOBAL", str(config))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield


@dataclass(frozen=True)
class Repo:
    """A repository with a working tree."""

    path: Path

    @classmethod
    def init(cls, path: Path, *options: str) -> "Repo":
        path.mkdir(parents=True, exist_ok=True)
        repo = cls(path)
        repo.git("init", "--quiet", *options)
        return repo

    def git(self, *args: str, stdin: bytes = b"", check: bool = True) -> str:
        done = subprocess.run(["git", *args], cwd=self.path, input=stdin, capture_output=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"git {args}: {done.stderr.decode(errors='replace')}")
        return os.fsdecode(done.stdout.removesuffix(b"\n"))

    def write(self, files: Mapping[str, Content]) -> "Repo":
        for name, content in files.items():
            place = self.path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
        return self

    def commit(self, message: str = "work", **files: Content) -> str:
        self.write(files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.head

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    @property
    def status(self) -> str:
        return self.git("status", "--porcelain", "-z", "--untracked-files=all")

    @property
    def pending(self) -> dict[str, str]:
        """Path to what `git status` says about it."""
        lines = self.git("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames").split("\0")
        return {line[3:]: line[:2] for line in lines if line}

    @property
    def repository(self) -> Repository:
        found = find(self.path)
        assert found is not None
        return found

    def files(self, commit: str = "HEAD") -> dict[str, str]:
        """Path to content of a commit."""
        names = self.git("ls-tree", "-r", "-z", "--name-only", commit).split("\0")[:-1]
        return {name: self.git("cat-file", "blob", f"{commit}:{name}") for name in names}


def everything(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file with mode, time of change (but of objects) and content, the Git folder included."""
    found = {}
    for path, folders, names in os.walk(folder):
        for name in (*folders, *names):
            place = os.path.join(path, name)
            facts = os.lstat(place)
            content = b""
            if stat.S_ISREG(facts.st_mode):
                content = Path(place).read_bytes()
            elif stat.S_ISLNK(facts.st_mode):
                content = os.fsencode(os.readlink(place))
            # Git renews the time stamp of an object or a shared index that it meets again.
            renewed = "/.git/" in place and ("/objects/" in place or "sharedindex." in place)
            found[place] = (facts.st_mode, 0 if renewed else facts.st_mtime_ns, content)
    return found


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """The files of a working tree, without Git's folder: path to kind with executable bit, and content."""
    found = {}
    for path, folders, names in os.walk(folder):
        if ".git" in folders:
            folders.remove(".git")
        for name in names + [name for name in folders if os.path.islink(os.path.join(path, name))]:
            place = Path(path) / name
            facts = place.lstat()
            kind = stat.S_IFMT(facts.st_mode) | (
                facts.st_mode & stat.S_IXUSR if stat.S_ISREG(facts.st_mode) else 0
            )
            content = os.fsencode(os.readlink(place)) if place.is_symlink() else place.read_bytes()
            found[str(place.relative_to(folder))] = (kind, content)
    return found


async def until(fact: Callable[[], bool]) -> None:
    """Waits for a fact; the test's own time limit ends it."""
    while True:
        if fact():
            return
        await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Sandbox:
    """What the worker does with a bundle, the agent being a function."""

    folder: Path

    def send(self, repo: Repo) -> Sent:
        self.folder.mkdir(parents=True, exist_ok=True)
        return bundle(repo.repository, self.folder / "sent.bundle")

    def work(
        self, agent: Callable[[Path], object], bundle: Path | None = None, max_bytes: int = MAX_RESULT_BYTES
    ) -> tuple[Prepared, Concluded]:
        async def both() -> tuple[Prepared, Concluded]:
            workspace = self.folder / "workspace"
            prepared = await prepare(bundle or self.folder / "sent.bundle", workspace, BRANCH)
            agent(workspace)
            concluded = await conclude(
                workspace,
                prepared,
                branch=BRANCH,
                message=lambda _: "Do the work",
                author=AGENT,
                out=self.folder / "out",
                max_bytes=max_bytes,
            )
            return prepared, concluded

        return asyncio.run(both())

    def result(self, repo: Repo, agent: Callable[[Path], object]) -> Path:
        """The result bundle of an agent's work on the repository as it is now."""
        self.send(repo)
        _, concluded = self.work(agent)
        assert concluded.bundle is not None
        return concluded.bundle
