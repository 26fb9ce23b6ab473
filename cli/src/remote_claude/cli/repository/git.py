"""The user's repository, and plain `git` in it."""

import os
import re
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from remote_claude.cli.errors import CliError, Exit

OLDEST_GIT = (2, 38)  # `git merge-tree --write-tree`

# What of the caller's environment git may see. The rest of GIT_* (an index, an object folder, a trace)
# belongs to our caller, a hook for instance, and would point git somewhere else.
_KEPT = re.compile(
    r"GIT_(?:(?:AUTHOR|COMMITTER)_(?:NAME|EMAIL)|CONFIG_(?:GLOBAL|SYSTEM|NOSYSTEM|COUNT|KEY_\d+|VALUE_\d+)"
    r"|EXEC_PATH|CEILING_DIRECTORIES|DISCOVERY_ACROSS_FILESYSTEM|SSH|SSH_COMMAND|SSL_CAINFO)"
)
# Git writes nothing that it wasn't asked for, into the index or beside it, and runs no hook.
_QUIET = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.splitIndex=false",
    "core.untrackedCache=false",
    "core.safecrlf=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "advice.addEmbeddedRepo=false",
)
_OPTIONS = ("--no-pager", "--literal-pathspecs", *(part for setting in _QUIET for part in ("-c", setting)))


class RepositoryError(CliError):
    """A repository can't be read, sent or changed as asked. Nothing was lost.

    `code` is stable; `files` are the paths it is about.
    """

    def __init__(self, code: str, message: str, files: Collection[str] = ()) -> None:
        super().__init__(message, Exit.USAGE, code=code, files=list(files))
        self.files = tuple(files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    top: Path  # of the working tree
    git_dir: Path  # of this working tree: HEAD and the index live here
    objects: Path  # shared by all working trees
    object_format: str  # sha1 or sha256

    @property
    def index(self) -> Path:
        return self.git_dir / "index"

    def git(
        self,
        *args: str | Path,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        expect: Collection[int] = (0,),
    ) -> "Answer":
        """Git as the user has set it up, in the top folder."""
        return run(*args, cwd=self.top, env={**user_environment(), **(env or {})}, stdin=stdin, expect=expect)

    def commit(self, name: str = "HEAD") -> str | None:
        """The commit that a name refers to."""
        answer = self.git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", expect=(0, 1))
        return answer.text or None

    def flag(self, setting: str) -> bool:
        return self.git("config", "--type=bool", "--get", setting, expect=(0, 1)).text == "true"


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    out: bytes

    @property
    def text(self) -> str:
        return os.fsdecode(self.out.removesuffix(b"\n"))

    @property
    def paths(self) -> list[bytes]:
        """What `-z` separated."""
        return self.out.split(b"\0")[:-1]


def find(path: Path) -> Repository | None:
    """The repository whose working tree holds `path`, None when there is none.

    A linked working tree and a submodule count as repositories of their own.
    Errors: `folder_not_found`, `repository_bare`, `repository_unreadable` (Git's own words, for instance
    about a folder that belongs to someone else), `git_missing`, `git_too_old`.
    """
    if not path.is_dir():
        raise RepositoryError("folder_not_found", f"{path} is not a folder")
    _check_version(path)
    try:
        top = _ask(path, "--show-toplevel")
    except RepositoryError as error:
        if "not a git repository" in str(error):
            return None
        if "must be run in a work tree" in str(error):
            raise RepositoryError(
                "repository_bare", f"{path} has no working tree: pass a folder with checked out files"
            ) from error
        raise RepositoryError("repository_unreadable", f"Git can't read {path}: {error}") from error
    # One question each: a path may have a newline in it.
    return Repository(
        top=Path(top),
        git_dir=Path(_ask(path, "--absolute-git-dir")),
        objects=Path(_ask(path, "--path-format=absolute", "--git-path", "objects")),
        object_format=_ask(path, "--show-object-format"),
    )


def _ask(path: Path, *question: str) -> str:
    return run("rev-parse", *question, cwd=path, env=user_environment()).text


def _check_version(path: Path) -> None:
    found = run("version", cwd=path, env=user_environment()).text
    numbers = re.search(r"(\d+)\.(\d+)", found)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST_GIT:
        raise RepositoryError("git_too_old", f"Git 2.38 or newer is needed, this is {found!r}")


def callers_environment() -> dict[str, str]:
    """The caller's environment, without what points Git somewhere else."""
    return {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or _KEPT.fullmatch(k)}


def user_environment() -> dict[str, str]:
    """The caller's environment, for Git as the user has set it up, run by a program."""
    # Names come as they are, no lock is taken to refresh an index, no commit replaces another.
    return callers_environment() | {
        "LC_ALL": "C",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_GRAFT_FILE": os.devnull,
    }


def run(
    *args: str | Path,
    cwd: Path,
    env: Mapping[str, str],
    stdin: bytes = b"",
    expect: Collection[int] = (0,),
) -> Answer:
    """Runs Git to its end; an exit code that isn't expected raises `git_failed` with Git's own words."""
    try:
        done = subprocess.run(
            ["git", *_OPTIONS, *map(str, args)],
            cwd=cwd,
            env=env,
            input=stdin,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise RepositoryError("git_missing", "Git isn't installed, or not on PATH") from error
    if done.returncode not in expect:
        raise failed(args, done.returncode, done.stderr)
    return Answer(done.returncode, done.stdout)


def failed(args: Collection[str | Path], code: int, stderr: bytes) -> RepositoryError:
    message = stderr.decode("utf-8", "replace").strip() or f"it ended with {code}"
    return RepositoryError("git_failed", f"git {next(iter(args))}: {message}")
