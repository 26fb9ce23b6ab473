"""Files that go along beside the commit: ignored ones that were asked for, and contents that Git stores elsewhere (LFS)."""

import os
import stat
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from remote_claude.cli.repository.git import Repository
from remote_claude.cli.repository.scratch import nul

INCLUDE_FILE = ".worktreeinclude"
"""At the top of a repository: patterns, as in `.gitignore`, of ignored files that go along."""
MAX_LFS_BYTES = 256 * 1024 * 1024
"""Of all LFS contents that go along unasked."""
SHOWN = 5
"""So many names are in a note."""
ADVICE = f"`--include PATTERN` or {INCLUDE_FILE} sends them"


@dataclass(frozen=True, slots=True)
class Extra:
    tree: str | None  # None: nothing goes along
    notes: tuple[str, ...]


def collect(repository: Repository, index: Path, env: dict[str, str], include: Sequence[str]) -> Extra:
    """The files as they are on disk, no filter applied, as a tree. `index` and `env` are those of the snapshot.

    `include` are patterns as in `.gitignore`; those of `.worktreeinclude` are added.
    """
    ignored = repository.git("ls-files", "-z", "--others", "--ignored", "--exclude-standard", env=env).paths
    files = [path for path in ignored if not path.endswith(b"/")]
    asked = _matching(repository, env, files, include)
    entries = _entries(repository, asked, env)
    notes = _about_ignored(files, [path for _, _, path in entries], asked=bool(asked or include))
    lfs, too_large = _lfs_contents(repository, env)
    entries += lfs
    if lfs:
        notes.append(f"LFS contents sent: {_names([path for _, _, path in lfs])}")
    if too_large:
        limit = MAX_LFS_BYTES // 1024 // 1024
        notes.append(f"LFS contents not sent, more than {limit} MiB in all: {_names(too_large)}")
    return Extra(_tree(repository, index.with_name("extra"), env, entries) if entries else None, tuple(notes))


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


def _about_ignored(files: Sequence[bytes], sent: Collection[bytes], *, asked: bool) -> list[str]:
    if not files:
        return ["no ignored file matches what is to be included"] if asked else []
    taken = set(sent)
    rest = _names([path for path in files if path not in taken])
    if not sent:
        return [f"ignored files not sent: {rest} ({ADVICE})"]
    return [f"ignored files sent: {_names(sent)}" + (f"; not sent: {rest}" if rest else "")]


def _names(paths: Collection[bytes]) -> str:
    """The folders or files at the top that hold them, and how many files in a folder."""
    counts: dict[str, int] = {}
    for path in sorted(paths):
        top, folder, _ = path.partition(b"/")
        name = (top + folder).decode("utf-8", "replace")
        counts[name] = counts.get(name, 0) + 1
    names = [
        name if not name.endswith("/") else f"{name} ({count} file{'s' * (count != 1)})"
        for name, count in counts.items()
    ]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


Entry = tuple[bytes, bytes, bytes]  # mode, object id, path


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


def _lfs_contents(repository: Repository, env: dict[str, str]) -> tuple[list[Entry], list[bytes]]:
    """Files that Git stores as pointers and that are here as what they are; and those for which there is no room."""
    tracked = {}
    for line in repository.git("ls-files", "-z", "--stage", env=env).paths:
        head, _, path = line.partition(b"\t")
        tracked[path] = head.split(b" ")[1]
    if not any(path.rpartition(b"/")[2] == b".gitattributes" for path in tracked):
        return [], []
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
        (kept if total <= MAX_LFS_BYTES else too_large).append(path)
    return [entry for entry in _entries(repository, kept, env) if tracked[entry[2]] != entry[1]], too_large


def _tree(repository: Repository, index: Path, env: dict[str, str], entries: Sequence[Entry]) -> str:
    own = {**env, "GIT_INDEX_FILE": str(index)}
    lines = [b"%s %s\t%s" % entry for entry in entries]
    repository.git("update-index", "--add", "-z", "--index-info", stdin=nul(lines), env=own)
    return repository.git("write-tree", env=own).text
