"""What the agent left in its workspace, as a tree, a commit, a patch and a bundle."""

import asyncio
import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from remote_claude.worker.git import GitFailed, environment, git

NAMED = 20
"""So many paths of one kind are named as left out."""
_LINK = b"160000"


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
    extra: str | None  # a tree of files that Git doesn't track here, checked out too
    bundle: Path  # what was sent, for when the agent's Git folder is broken
    aside: Path  # a copy of the index, and room for more
    missing: str = ""  # one line for the user: files that the commit names and that are not here


@dataclass(slots=True)
class ResultTree:
    """A fresh Git folder over the agent's files: nothing that the agent did to its own has a say here."""

    git_dir: Path
    top: Path
    prepared: Prepared
    env: dict[str, str]
    left_out: list[str] = field(default_factory=list)

    @classmethod
    async def begin(
        cls, folder: Path, workspace: Path, prepared: Prepared, *, from_bundle: bool
    ) -> "ResultTree":
        """On the objects that the agent's own Git folder still has, or on those of the bundle."""
        git_dir = folder / "git"
        work = cls(git_dir, workspace, prepared, environment(folder) | {"GIT_DIR": str(git_dir)})
        object_format = "sha256" if len(prepared.sent) == 64 else "sha1"
        await work.git(
            "init", "--quiet", "--bare", "--template=", f"--object-format={object_format}", where=folder
        )
        if from_bundle:
            await work.take_bundle(prepared)
        else:
            alternates = git_dir / "objects" / "info" / "alternates"
            alternates.parent.mkdir(exist_ok=True)
            alternates.write_bytes(os.fsencode((workspace / ".git" / "objects").absolute()) + b"\n")
            await work.git("rev-list", "--objects", "--quiet", "--no-walk", prepared.sent)
        work.env["GIT_WORK_TREE"] = str(workspace)
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

    async def take_bundle(self, prepared: Prepared) -> None:
        """Raises `RepositoryFailed` when it is gone too."""
        try:
            await self.git(
                *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", prepared.bundle),
                "refs/rclaude/*:refs/rclaude/*",
                where=self.git_dir,
            )
        except GitFailed as error:
            raise RepositoryFailed(
                "repository_destroyed",
                f"the agent destroyed the Git folder and the copy of it, so its changes can't be found: {error}",
            ) from error

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

    async def changed(self, before: str, after: str) -> list[str]:
        """Paths that differ between two trees."""
        found = await self.git("diff-tree", "-r", "-z", "--name-only", "--no-commit-id", before, after)
        return [path.decode("utf-8", "replace") for path in _split(found)]

    async def snapshot(self, max_bytes: int) -> str:
        """The tree of what the agent left. No file over a quarter of `max_bytes` goes in, and not more than half of
        it in all, the smallest first: the rest is named in `left_out`."""
        changed = _split(await self.git("diff-files", "-z", "--name-only", "--ignore-submodules"))
        new = await self._untracked() | await self._tracked_by_agent()
        self._leave_out((path for path in sorted(new) if not _storable(path)), "Git refuses the name")
        gone = [path for path in changed if not self._is_file(path)]
        there = [path for path in (*changed, *sorted(new)) if _storable(path) and self._is_file(path)]
        await self._add(gone)  # first, since a file may have become a folder
        await self._add(self._affordable(there, max_bytes))
        await self._put_back_extra()
        return (await self.git("write-tree")).decode().strip()

    def _affordable(self, paths: Sequence[bytes], max_bytes: int) -> list[bytes]:
        sizes = {path: os.lstat(os.path.join(os.fsencode(self.top), path)).st_size for path in paths}
        total, kept = 0, set[bytes]()
        for path in sorted(sizes, key=lambda path: (sizes[path], path)):
            if sizes[path] > max_bytes // 4:
                self._leave_out(
                    [path], f"{_mib(sizes[path])}, more than the {_mib(max_bytes // 4)} of a file"
                )
            elif total + sizes[path] > max_bytes // 2:
                self._leave_out(
                    [path], f"{_mib(sizes[path])}, the result would be over {_mib(max_bytes // 2)}"
                )
            else:
                total += sizes[path]
                kept.add(path)
        return [path for path in paths if path in kept]

    async def _put_back_extra(self) -> None:
        """Contents that came along for a file that Git stores otherwise (LFS) and that the agent left as they were."""
        extra = await self._extra()
        if not extra:
            return
        entries = {path: oid for _, oid, path in _stages(await self.git("ls-files", "-z", "--stage"))}
        same = {path for path, oid in extra.items() if entries.get(path) == oid}
        sent = await self.git("ls-tree", "-r", "-z", "--full-tree", self.prepared.sent)
        back = [line for line in _split(sent) if line.partition(b"\t")[2] in same]
        await self.git("update-index", "-z", "--index-info", stdin=_joined(back))

    async def _extra(self) -> dict[bytes, bytes]:
        """Path to object id of the files that came along besides the commit."""
        if self.prepared.extra is None:
            return {}
        listed = await self.git("ls-tree", "-r", "-z", "--full-tree", self.prepared.extra)
        facts = (line.partition(b"\t") for line in _split(listed))
        return {path: head.split(b" ")[2] for head, _, path in facts}

    async def out_of_reach(self) -> list[str]:
        """What the agent changed where no commit reaches: in submodules, in ignored files."""
        sent = set(await self._extra())
        extra = set(sent)
        index = {"GIT_INDEX_FILE": str(self.prepared.aside / "extra-index")}
        if sent:
            extra -= set(_split(await self.git("diff-files", "-z", "--name-only", env=index)))

        def changed(path: bytes) -> list[bytes]:
            """Itself; of a folder in which files came along those files that didn't, or are others now."""
            if not path.endswith(b"/"):
                return [] if path in extra else [path]
            below = self._files_below(path)
            return [file for file in below if file not in extra] if extra.intersection(below) else [path]

        listed = await self.git(
            "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory"
        )
        ignored = [file for path in _split(listed) for file in changed(path)]
        links = [
            path for mode, _, path in _stages(await self.git("ls-files", "-z", "--stage")) if mode == _LINK
        ]
        inside = [file for link in links for file in self._files_below(link) if file not in extra]
        below = tuple(link + b"/" for link in links)
        inside += self._gone(path for path in sorted(sent - extra) if path.startswith(below))
        return _described(inside, "in a submodule") + _described(ignored, "ignored by Git")

    def _files_below(self, folder: bytes) -> list[bytes]:
        """Paths from the top of the workspace."""
        top, found = os.fsencode(self.top), list[bytes]()
        for path, folders, names in os.walk(os.path.join(top, folder)):
            folders[:] = [name for name in folders if name != b".git"]
            found += [os.path.relpath(os.path.join(path, name), top) for name in names if name != b".git"]
        return sorted(found)

    def _gone(self, paths: Iterable[bytes]) -> list[bytes]:
        top = os.fsencode(self.top)
        return [path for path in paths if not os.path.lexists(os.path.join(top, path))]

    def _leave_out(self, paths: Iterable[bytes], why: str) -> None:
        self.left_out += _described(list(paths), why)

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
            self._leave_out([path], "can't be read")

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


def _described(paths: Sequence[bytes], why: str) -> list[str]:
    """One entry for each path, as far as somebody would read it."""
    named = [f"{path.decode('utf-8', 'replace')} ({why})" for path in paths[:NAMED]]
    return named + ([f"{len(paths) - NAMED} more ({why})"] if len(paths) > NAMED else [])


def _mib(size: int) -> str:
    return f"{size / 1024 / 1024:.0f} MiB"


def _stages(out: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """(mode, object id, path) of each entry that `ls-files --stage` prints."""
    lines = [line.partition(b"\t") for line in _split(out)]
    return [(*head.split(b" ")[:2], path) for head, _, path in lines]  # type: ignore[misc] # two before the path


def _read(path: bytes) -> tuple[bytes, bytes]:
    """(mode as Git writes it, content)"""
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return b"120000", os.readlink(path)
    with open(path, "rb") as file:
        return b"100755" if mode & stat.S_IXUSR else b"100644", file.read()


def _storable(path: bytes) -> bool:
    """Git refuses its own folder's name, in any case, anywhere in a path."""
    return not any(part.lower() in (b".git", b"git~1") for part in path.split(b"/"))


def _split(out: bytes) -> list[bytes]:
    return out.split(b"\0")[:-1]


def _joined(paths: Sequence[bytes]) -> bytes:
    return b"".join(path + b"\0" for path in paths)
