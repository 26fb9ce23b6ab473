"""The repository in the sandbox: checked out for the agent, and what the agent made of it.

Nothing but the standard library and Git is needed here.
"""

import asyncio
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from remote_claude.worker.git import GitFailed, environment, git

BASE_REF = "refs/rclaude/base"
SENT_REF = "refs/rclaude/sent"
SNAPSHOT_REF = "refs/rclaude/snapshot"


class RepositoryFailed(Exception):
    """`bundle_invalid` (what was sent can't be checked out), `repository_destroyed` (the agent left nothing
    to compare with), `result_unreadable`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    base: str | None  # the user's own last commit, None where the bundle has no history
    sent: str  # the tree as sent, checked out
    aside: Path  # a copy of the Git folder, for when the agent's is broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Concluded:
    commit: str | None  # None: the agent changed nothing
    bundle: Path | None
    patch: Path | None
    skipped: tuple[str, ...] = ()  # files that can't be in a commit, or can't be read


async def prepare(
    bundle: Path,
    workspace: Path,
    branch: str,
    *,
    author: tuple[str, str] = ("rclaude", "rclaude@localhost"),
    aside: Path | None = None,
) -> Prepared:
    """Checks the bundle out into `workspace` (empty, or not there), on `branch`, with no remote.

    `author` (name, e-mail) is who commits there. `aside` defaults to `.<workspace>.git` beside the workspace;
    on the same file system it takes hardly any space.
    """
    bundle, workspace = _absolute(bundle), _folder(workspace)
    aside = aside or workspace.with_name(f".{workspace.name}.git")
    env = environment(workspace)
    try:
        await git(
            *("init", "--quiet", "--template=", f"--object-format={_object_format(bundle)}"),
            *(f"--initial-branch={branch}", "."),
            cwd=workspace,
            env=env,
        )
        await asyncio.to_thread(_configure, workspace / ".git" / "config", *author)
        await git(
            *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", bundle),
            "refs/rclaude/*:refs/rclaude/*",
            cwd=workspace,
            env=env,
        )
        refs = await git(
            "for-each-ref", "--format=%(refname) %(objectname)", "refs/rclaude/", cwd=workspace, env=env
        )
        found = dict(line.split(" ") for line in refs.decode().splitlines())
        if SENT_REF not in found:
            raise RepositoryFailed("bundle_invalid", f"the bundle has no {SENT_REF}")
        await git("checkout", "--quiet", "-B", branch, found[SENT_REF], cwd=workspace, env=env)
        forget = b"".join(b"delete %s\n" % ref.encode() for ref in found)
        await git("update-ref", "--stdin", stdin=forget, cwd=workspace, env=env)
    except (GitFailed, OSError) as error:
        raise RepositoryFailed("bundle_invalid", f"what was sent can't be checked out: {error}") from error
    await asyncio.to_thread(_copy, workspace / ".git", aside)
    return Prepared(base=found.get(BASE_REF), sent=found[SENT_REF], aside=aside)


async def conclude(
    workspace: Path,
    prepared: Prepared,
    *,
    branch: str,
    message: str,
    author: tuple[str, str],
    out: Path | None = None,
) -> Concluded:
    """One commit on `branch`, its parent what was sent, its tree the working tree as the agent left it.

    However the agent committed, or not, on whatever branch, in however broken a Git folder: only the files
    count. Ignored ones are left out, unless tracked; repositories that the agent made inside count as folders.
    `result.bundle` holds `base..commit` as `refs/heads/<branch>`, `changes.patch` what the agent changed, both
    in `out` (default: in `prepared.aside`).
    """
    out = _folder(out or prepared.aside / "result")
    with tempfile.TemporaryDirectory(prefix=".rclaude-", dir=out) as temporary:
        try:
            work = await _Work.begin(Path(temporary), _absolute(workspace), prepared)
            tree = await work.snapshot()
            if tree == await work.tree(prepared.sent):
                return Concluded(commit=None, bundle=None, patch=None, skipped=tuple(work.skipped))
            commit = await work.commit(tree, prepared.sent, message, author)
            patch = await work.patch(prepared.sent, commit, out / "changes.patch")
            bundle = await work.bundle(branch, commit, prepared.base, out / "result.bundle")
        except (GitFailed, OSError) as error:
            raise RepositoryFailed("result_unreadable", f"the changes can't be read: {error}") from error
    return Concluded(commit=commit, bundle=bundle, patch=patch, skipped=tuple(work.skipped))


async def snapshot(workspace: Path, prepared: Prepared, out: Path) -> Path | None:
    """The working tree as it is, without what Git ignores, as a bundle on top of what was sent; None without a change.

    It is in `out`, as `SNAPSHOT_REF`. Errors: `result_unreadable`, `repository_destroyed`.
    """
    with tempfile.TemporaryDirectory(prefix=".rclaude-", dir=_folder(out.parent)) as temporary:
        try:
            work = await _Work.begin(Path(temporary), _absolute(workspace), prepared)
            tree = await work.snapshot()
            if tree == await work.tree(prepared.sent):
                return None
            commit = await work.commit(tree, prepared.sent, "checkpoint", ("rclaude", "rclaude@localhost"))
            await work.git("update-ref", SNAPSHOT_REF, commit)
            await work.git("bundle", "create", "--quiet", out, SNAPSHOT_REF, f"^{prepared.sent}")
        except (GitFailed, OSError) as error:
            raise RepositoryFailed("result_unreadable", f"the changes can't be read: {error}") from error
    return out


async def restore(workspace: Path, bundle: Path) -> None:
    """Make the prepared working tree what a snapshot of it was. Branch and index stay. Errors: `bundle_invalid`."""
    env = environment(workspace)
    try:
        await git(
            *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", _absolute(bundle)),
            f"{SNAPSHOT_REF}:{SNAPSHOT_REF}",
            cwd=workspace,
            env=env,
        )
        await git("read-tree", "--reset", "-u", SNAPSHOT_REF, cwd=workspace, env=env)
        await git("read-tree", "HEAD", cwd=workspace, env=env)
        await git("update-ref", "-d", SNAPSHOT_REF, cwd=workspace, env=env)
    except GitFailed as error:
        raise RepositoryFailed("bundle_invalid", f"the checkpoint can't be restored: {error}") from error


@dataclass(slots=True)
class _Work:
    """A fresh Git folder over the agent's files: nothing that the agent did to its own has a say here."""

    git_dir: Path
    top: Path
    env: dict[str, str]
    skipped: list[str] = field(default_factory=list)

    @classmethod
    async def begin(cls, folder: Path, workspace: Path, prepared: Prepared) -> "_Work":
        """From the copy set aside, else from the objects that the agent's own Git folder still has."""
        stores = [store for store in (prepared.aside, workspace / ".git") if (store / "objects").is_dir()]
        git_dir = folder / "git"
        work = cls(git_dir, workspace, environment(folder) | {"GIT_DIR": str(git_dir)})
        object_format = "sha256" if len(prepared.sent) == 64 else "sha1"
        await work.git(
            "init", "--quiet", "--bare", "--template=", f"--object-format={object_format}", where=folder
        )
        alternates = git_dir / "objects" / "info" / "alternates"
        alternates.parent.mkdir(exist_ok=True)
        alternates.write_bytes(
            b"".join(os.fsencode((store / "objects").absolute()) + b"\n" for store in stores)
        )
        work.env["GIT_WORK_TREE"] = str(workspace)
        try:
            await work.git("rev-list", "--objects", "--quiet", "--no-walk", prepared.sent)
        except GitFailed as error:
            raise RepositoryFailed(
                "repository_destroyed",
                f"the agent destroyed the Git folder and its copy, so its changes can't be told: {error}",
            ) from error
        with suppress(OSError):  # spares reading unchanged files; time stamps come along
            shutil.copy2(prepared.aside / "index", git_dir / "index")
        try:
            indexed = await work.git("write-tree")
        except GitFailed:
            (git_dir / "index").unlink(missing_ok=True)
            indexed = b""
        if indexed.decode().strip() != await work.tree(prepared.sent):
            await work.git("read-tree", prepared.sent)
        return work

    async def git(
        self,
        *args: str | Path,
        stdin: bytes = b"",
        where: Path | None = None,
        env: dict[str, str] | None = None,
    ) -> bytes:
        return await git(*args, cwd=where or self.top, env=self.env | (env or {}), stdin=stdin)

    async def tree(self, commit: str) -> str:
        return (await self.git("rev-parse", f"{commit}^{{tree}}")).decode().strip()

    async def snapshot(self) -> str:
        changed = _split(await self.git("diff-files", "-z", "--name-only", "--ignore-submodules"))
        new = await self._untracked() | await self._tracked_by_agent()
        self.skipped += sorted(os.fsdecode(path) for path in new if not _storable(path))
        gone = [path for path in changed if not self._is_file(path)]
        there = [path for path in (*changed, *sorted(new)) if _storable(path) and self._is_file(path)]
        await self._add(gone)  # first, since a file may have become a folder
        await self._add(there)
        return (await self.git("write-tree")).decode().strip()

    async def _untracked(self) -> set[bytes]:
        """Not ignored ones; repositories inside are looked into as if they were folders."""
        found: set[bytes] = set()
        waiting = _split(await self.git("ls-files", "-z", "--others", "--exclude-standard"))
        nested = [path for path in waiting if path.endswith(b"/")]
        found.update(path for path in waiting if not path.endswith(b"/"))
        while nested:
            inside = nested.pop()
            env = {
                "GIT_WORK_TREE": os.path.join(str(self.top), os.fsdecode(inside)),
                "GIT_INDEX_FILE": str(self.git_dir / "no-index"),
            }
            listed = await self.git(
                *("ls-files", "-z", "--others", "--exclude-standard"),
                where=Path(env["GIT_WORK_TREE"]),
                env=env,
            )
            paths = [inside + path for path in _split(listed)]
            if paths:
                ignored = await git(
                    *("check-ignore", "--no-index", "-z", "--stdin"),
                    cwd=self.top,
                    env=self.env,
                    stdin=_joined(paths),
                    expect=(0, 1),
                )
                paths = sorted(set(paths) - set(_split(ignored)))
            nested += [path for path in paths if path.endswith(b"/")]
            found.update(path for path in paths if not path.endswith(b"/"))
        return found

    async def _tracked_by_agent(self) -> set[bytes]:
        """What the agent added by force: its index counts where the ignore rules say no."""
        index = self.top / ".git" / "index"
        try:
            listed = await self.git("ls-files", "-z", env={"GIT_INDEX_FILE": str(index)})
            known = await self.git("ls-files", "-z")
        except GitFailed:  # broken: then the ignore rules decide alone
            return set()
        return {path for path in set(_split(listed)) - set(_split(known)) if self._is_file(path)}

    async def _add(self, paths: Sequence[bytes]) -> None:
        """All at once; where Git refuses, in halves down to the one path, which is stored as it is."""
        if not paths:
            return
        try:
            await self.git(
                "update-index", "--add", "--remove", "--replace", "-z", "--stdin", stdin=_joined(paths)
            )
        except GitFailed:
            if len(paths) == 1:
                await self._add_raw(paths[0])
                return
            middle = len(paths) // 2
            await self._add(paths[:middle])
            await self._add(paths[middle:])

    async def _add_raw(self, path: bytes) -> None:
        """Past conversions that fail, such as a wrong `working-tree-encoding`."""
        try:
            mode, content = await asyncio.to_thread(_read, os.path.join(os.fsencode(self.top), path))
            oid = await self.git("hash-object", "-w", "--no-filters", "--stdin", stdin=content)
            await self.git(
                "update-index", "-z", "--index-info", stdin=b"%s %s\t%s\0" % (mode, oid.strip(), path)
            )
        except (GitFailed, OSError):
            self.skipped.append(os.fsdecode(path))

    def _is_file(self, path: bytes) -> bool:
        """A file or a symbolic link, reached through real folders only."""
        parts = path.split(b"/")
        place = os.fsencode(self.top)
        try:
            for part in parts[:-1]:
                place = os.path.join(place, part)
                if not stat.S_ISDIR(os.lstat(place).st_mode):
                    return False
            mode = os.lstat(os.path.join(place, parts[-1])).st_mode
        except (OSError, ValueError):
            return False
        return stat.S_ISREG(mode) or stat.S_ISLNK(mode)

    async def commit(self, tree: str, parent: str, message: str, author: tuple[str, str]) -> str:
        name, email = author
        identity = {f"GIT_{role}_NAME": name for role in ("AUTHOR", "COMMITTER")}
        identity |= {f"GIT_{role}_EMAIL": email for role in ("AUTHOR", "COMMITTER")}
        text = message.replace("\0", "").encode("utf-8", "replace")
        out = await self.git("commit-tree", tree, "-p", parent, "-F", "-", stdin=text, env=identity)
        return out.decode().strip()

    async def patch(self, old: str, new: str, out: Path) -> Path:
        await self.git(
            *(
                "diff-tree",
                "-p",
                "-M",
                "--binary",
                "--full-index",
                "--no-ext-diff",
                "--no-textconv",
                "--no-color",
            ),
            *(f"--output={out}", old, new),
        )
        return out

    async def bundle(self, branch: str, commit: str, base: str | None, out: Path) -> Path:
        ref = f"refs/heads/{branch}"
        await self.git("update-ref", ref, commit)
        without = (f"^{base}",) if base else ()
        await self.git("bundle", "create", "--quiet", out, ref, *without)
        return out


def _configure(config: Path, name: str, email: str) -> None:
    """For the agent's own commits: a name, no signature, nothing collected behind its back."""
    name, email = (re.sub(r'[\x00-\x1f"\\<>]', "", value) for value in (name, email))
    with config.open("a", encoding="utf-8", errors="replace") as file:
        file.write(f'[user]\n\tname = "{name}"\n\temail = "{email}"\n')
        file.write("[commit]\n\tgpgSign = false\n[core]\n\tautocrlf = false\n[gc]\n\tauto = 0\n")


def _copy(git_dir: Path, aside: Path) -> None:
    """Objects as hard links where possible: they outlive their deletion, and never change."""
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(git_dir / "objects", aside / "objects", copy_function=_link)
    shutil.copy2(git_dir / "index", aside / "index")


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _read(path: bytes) -> tuple[bytes, bytes]:
    """(mode as Git writes it, content)"""
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return b"120000", os.readlink(path)
    with open(path, "rb") as file:
        return b"100755" if mode & stat.S_IXUSR else b"100644", file.read()


def _absolute(path: Path) -> Path:
    return path.absolute()


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path.absolute()


def _object_format(bundle: Path) -> str:
    with bundle.open("rb") as file:
        file.readline()
        return "sha256" if file.readline().startswith(b"@object-format=sha256") else "sha1"


def _storable(path: bytes) -> bool:
    """Git refuses its own folder's name, in any case, anywhere in a path."""
    return not any(part.lower() in (b".git", b"git~1") for part in path.split(b"/"))


def _split(out: bytes) -> list[bytes]:
    return out.split(b"\0")[:-1]


def _joined(paths: Sequence[bytes]) -> bytes:
    return b"".join(path + b"\0" for path in paths)
