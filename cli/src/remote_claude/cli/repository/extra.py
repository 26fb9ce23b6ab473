"""Files that are sent beside the commit: ignored ones that were asked for, the files of submodules, and LFS contents."""

import os
import stat
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from remote_claude.cli.repository.git import Repository, find
from remote_claude.cli.repository.scratch import nul

INCLUDE_FILE = ".worktreeinclude"
"""At the top of a repository: patterns, as in `.gitignore`, of ignored files that go along."""
MAX_BYTES = 256 * 1024 * 1024
"""Limit of all LFS contents together, and of the files of all submodules together."""
SHOWN = 5
"""How many names of one kind are listed."""
ADVICE = f"`--include PATTERN` or {INCLUDE_FILE} sends them"

Entry = tuple[bytes, bytes, bytes]  # mode, object id, path
_LINK = b"160000"
_LIMIT = f"{MAX_BYTES // 1024 // 1024} MiB"


@dataclass(frozen=True, slots=True)
class Extra:
    tree: str | None  # None: nothing is sent beside the commit
    note: str | None  # what is sent and what is not, in one line


@dataclass(slots=True)
class _Account:
    """What is sent beside the commit, and what is not: one text for each kind."""

    sent: list[str] = field(default_factory=list)
    not_sent: list[str] = field(default_factory=list)

    def line(self) -> str | None:
        parts = (("sent", self.sent), ("not sent", self.not_sent))
        return "; ".join(f"{what}: {', '.join(texts)}" for what, texts in parts if texts) or None


def collect(
    repository: Repository,
    index: Path,
    env: dict[str, str],
    include: Sequence[str],
    nested: Sequence[str] = (),
) -> Extra:
    """The files as they are on disk, no filter applied, as a tree. `index` and `env` are those of the snapshot.

    `include` are patterns as in `.gitignore`; those of `.worktreeinclude` are added. `nested` are repositories that
    are in no commit: they are only named as not sent.
    """
    account = _Account()
    tracked = _tracked(repository, env)
    entries = _ignored_files(repository, env, include, account)
    entries += _submodule_files(
        repository, env, [path for path, (mode, _) in tracked.items() if mode == _LINK], account
    )
    entries += _lfs_contents(repository, env, tracked, account)
    if nested:
        account.not_sent.append(f"repositories inside this one ({', '.join(nested)})")
    tree = _tree(repository, index.with_name("extra"), env, entries) if entries else None
    return Extra(tree, account.line())


def _tracked(
    repository: Repository, env: Mapping[str, str] | None = None
) -> dict[bytes, tuple[bytes, bytes]]:
    """Path to (mode, object id) of everything in an index."""
    listed = {}
    for line in repository.git("ls-files", "-z", "--stage", env=env).paths:
        head, _, path = line.partition(b"\t")
        mode, oid, _ = head.split(b" ")
        listed[path] = (mode, oid)
    return listed


def _ignored_files(
    repository: Repository, env: dict[str, str], include: Sequence[str], account: _Account
) -> list[Entry]:
    """Those that a pattern names."""
    ignored = repository.git("ls-files", "-z", "--others", "--ignored", "--exclude-standard", env=env).paths
    files = [path for path in ignored if not path.endswith(b"/")]
    included = _matching(repository, env, files, include)
    entries = _entries(repository, included, env)
    taken = {path for _, _, path in entries}
    if taken:
        account.sent.append(f"ignored files ({_names(taken)})")
    elif include:
        account.not_sent.append("ignored files (none matches what is to be included)")
        return entries
    if rest := [path for path in files if path not in taken]:
        advice = "" if taken else f"; {ADVICE}"
        account.not_sent.append(f"ignored files ({_names(rest)}{advice})")
    return entries


def _matching(
    repository: Repository, env: dict[str, str], files: Sequence[bytes], include: Sequence[str]
) -> list[bytes]:
    """Those of the files that a pattern takes, as Git reads patterns."""
    try:
        patterns = (repository.top / INCLUDE_FILE).read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        patterns = b""
    patterns += b"".join(b"\n" + os.fsencode(pattern) for pattern in include)
    if not files or not patterns.strip():
        return []
    with tempfile.NamedTemporaryFile(prefix="rclaude-") as file:
        file.write(patterns + b"\n")
        file.flush()
        listing = ("ls-files", "-z", "--others", "--ignored", f"--exclude-from={file.name}")
        matched = set(repository.git(*listing, env=env).paths)
    return [path for path in files if path in matched]


def _names(paths: Collection[bytes], folders: Collection[bytes] = ()) -> str:
    """The folders (those given, otherwise those at the top) or files that hold them, and how many files in a folder."""
    counts: dict[str, int] = {}
    for path in sorted(paths):
        top, folder, _ = path.partition(b"/")
        known = next((name for name in folders if path.startswith(name + b"/")), None)
        name = (known + b"/" if known else top + folder).decode("utf-8", "replace")
        counts[name] = counts.get(name, 0) + 1
    names = [
        name if not name.endswith("/") else f"{name} ({count} file{'s' * (count != 1)})"
        for name, count in counts.items()
    ]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _entries(repository: Repository, paths: Sequence[bytes], env: dict[str, str]) -> list[Entry]:
    """The files as blobs. What can't be read, or is neither a file nor a link, is left out."""
    top = os.fsencode(repository.top)
    plain, entries = [], []
    for path in paths:
        place = os.path.join(top, path)
        mode = os.lstat(place).st_mode
        if stat.S_ISLNK(mode):
            stored = repository.git("hash-object", "-w", "--stdin", stdin=os.readlink(place), env=env)
            entries.append((b"120000", stored.out.strip(), path))
        elif stat.S_ISREG(mode) and os.access(place, os.R_OK) and b"\n" not in path and path[:1] != b'"':
            plain.append((b"100755" if mode & stat.S_IXUSR else b"100644", path))
    names = b"".join(path + b"\n" for _, path in plain)
    if plain:
        command = ("hash-object", "-w", "--no-filters", "--stdin-paths")
        ids = repository.git(*command, stdin=names, env=env).out.split()
        entries += [(mode, id, path) for (mode, path), id in zip(plain, ids, strict=True)]
    return entries


def _submodule_files(
    repository: Repository, env: dict[str, str], links: Sequence[bytes], account: _Account
) -> list[Entry]:
    """The files of submodules that are checked out, as they are on disk, without those that they ignore."""
    top, left = os.fsencode(repository.top), MAX_BYTES
    entries, sent, missing, too_large = list[Entry](), list[bytes](), list[str](), list[str]()
    for link in links:
        name = link.decode("utf-8", "replace")
        if (inside := _checked_out(os.path.join(top, link))) is None:
            missing.append(name)
            continue
        files = [os.path.join(link, path) for path in _submodule_paths(inside)]
        size = sum(os.lstat(os.path.join(top, path)).st_size for path in files)
        if size > left:
            too_large.append(name)
            continue
        left -= size
        entries += _entries(repository, files, env)
        sent += files or [link]
    if sent:
        account.sent.append(f"submodules ({_names(sent, links)})")
    if missing:
        account.not_sent.append(f"submodules ({', '.join(missing)}: not checked out here)")
    if too_large:
        account.not_sent.append(f"submodules ({', '.join(too_large)}: more than {_LIMIT} in all)")
    return entries


def _checked_out(folder: bytes) -> Repository | None:
    """The submodule in a folder, None where there is only its empty folder, or a link to another place."""
    if os.path.islink(folder) or not os.path.lexists(os.path.join(folder, b".git")):
        return None
    found = find(Path(os.fsdecode(folder)))
    return found if found and found.top.samefile(os.fsdecode(folder)) else None


def _submodule_paths(submodule: Repository) -> list[bytes]:
    """What is in it: tracked and untracked files, those of its own submodules, nothing that it ignores."""
    tracked = _tracked(submodule)
    untracked = submodule.git("ls-files", "-z", "--others", "--exclude-standard").paths
    found = {path for path, (mode, _) in tracked.items() if mode != _LINK}
    found.update(path for path in untracked if not path.endswith(b"/"))
    top = os.fsencode(submodule.top)
    for link in (path for path, (mode, _) in tracked.items() if mode == _LINK):
        if (inner := _checked_out(os.path.join(top, link))) is not None:
            found.update(os.path.join(link, path) for path in _submodule_paths(inner))
    return sorted(path for path in found if os.path.lexists(os.path.join(top, path)))


def _lfs_contents(
    repository: Repository,
    env: dict[str, str],
    tracked: Mapping[bytes, tuple[bytes, bytes]],
    account: _Account,
) -> list[Entry]:
    """Files that Git stores as pointers and that are here as what they are."""
    if not any(path.rpartition(b"/")[2] == b".gitattributes" for path in tracked):
        return []
    facts = repository.git("check-attr", "-z", "--stdin", "filter", stdin=nul(tracked), env=env).paths
    filtered = [path for path, value in zip(facts[::3], facts[2::3], strict=True) if value == b"lfs"]
    top, total = os.fsencode(repository.top), 0
    sizes = {
        path: os.lstat(place).st_size
        for path in filtered
        if os.path.lexists(place := os.path.join(top, path))
    }
    kept, too_large = list[bytes](), list[bytes]()
    for path in sorted(sizes, key=lambda path: (sizes[path], path)):
        total += sizes[path]
        (kept if total <= MAX_BYTES else too_large).append(path)
    stored = _entries(repository, kept, env)
    contents = [entry for entry in stored if tracked[entry[2]][1] != entry[1]]
    pointers = [path for _, oid, path in stored if tracked[path][1] == oid]
    if contents:
        account.sent.append(f"LFS contents ({_names([path for _, _, path in contents])})")
    if pointers:
        account.not_sent.append(
            f"LFS contents ({_names(pointers)}: not on this disk, `git lfs pull` brings them)"
        )
    if too_large:
        account.not_sent.append(f"LFS contents ({_names(too_large)}: more than {_LIMIT} in all)")
    return contents


def _tree(repository: Repository, index: Path, env: dict[str, str], entries: Sequence[Entry]) -> str:
    own = {**env, "GIT_INDEX_FILE": str(index)}
    lines = [b"%s %s\t%s" % entry for entry in entries]
    repository.git("update-index", "--add", "-z", "--index-info", stdin=nul(lines), env=own)
    return repository.git("write-tree", env=own).text
