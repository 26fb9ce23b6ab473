"""The agent's files as the user's own `git add` would store them: clean filters (LFS, git-crypt) and line ends."""

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from remote_claude.cli.repository.git import RepositoryError, run, user_environment
from remote_claude.cli.repository.result import LINK, SYMLINK, Change, UnpackedResult, compare
from remote_claude.cli.repository.scratch import Scratch, nul

_ATTRIBUTES = b".gitattributes"
_NONE = (b"unspecified", b"unset", b"")


class FilterFailed(RepositoryError):
    """`filter_failed`: what the agent changed can't be stored as `git add` would store it. Nothing changed."""

    def __init__(self, reason: str, files: Collection[str] = ()) -> None:
        super().__init__(
            "filter_failed",
            f"nothing was changed, since the result can't be stored as `git add` would: {reason}. Repair or install the "
            "filter that .gitattributes names, then apply again.",
            files,
        )


def cleaned(scratch: Scratch, result: UnpackedResult, here: str) -> UnpackedResult:
    """The result with each changed file as `git add` stores it here. `here` is the working tree as a tree.

    The attributes are those of `here`: the agent's own choose no filter. A file that came with its encoding
    (`working-tree-encoding`) was converted in the sandbox.
    """
    files = [
        change
        for change in result.changes
        if not change.deleted
        and change.new_mode not in (LINK, SYMLINK)
        and change.path.rpartition(b"/")[2] != _ATTRIBUTES
    ]
    if not files:
        return result
    index = {"GIT_INDEX_FILE": str(scratch.folder / "clean-index")}
    scratch.git("read-tree", here, env=index)
    filters = _attribute(scratch, index, "filter", [change.path for change in files])
    encoded = _attribute(scratch, index, "working-tree-encoding", list(filters))
    if both := sorted(os.fsdecode(path) for path in encoded if path in filters):
        raise FilterFailed(f"{', '.join(both)} has both a filter and an encoding", both)
    stored = _stored(scratch, index, result, {change.new for change in files if change.path in filters})
    files = [
        change
        for change in files
        if change.path not in encoded and (change.new, filters.get(change.path)) not in stored
    ]
    if not files:
        return result
    changed = _add(scratch, files, Path(index["GIT_INDEX_FILE"]))
    if not changed:
        return result
    own = {"GIT_INDEX_FILE": str(scratch.folder / "cleaned-index")}
    scratch.git("read-tree", result.agent_tree, env=own)
    scratch.git("update-index", "-z", "--index-info", stdin=b"".join(c.entry for c in changed), env=own)
    tree = scratch.git("write-tree", "--missing-ok", env=own).text
    return replace(result, agent_tree=tree, changes=compare(scratch, result.sent_tree, tree))


def unfiltered(scratch: Scratch, result: UnpackedResult, here: str) -> tuple[str, ...]:
    """Files for which the agent's own attributes name a filter that the user has set up, and `here` does not."""
    if not any(change.path.rpartition(b"/")[2] == _ATTRIBUTES for change in result.changes):
        return ()
    paths = [change.path for change in result.changes if not change.deleted]
    index = {"GIT_INDEX_FILE": str(scratch.folder / "attributes-index")}
    scratch.git("read-tree", here, env=index)
    before = _attribute(scratch, index, "filter", paths)
    scratch.git("read-tree", result.agent_tree, env=index)
    after = _attribute(scratch, index, "filter", paths)
    found = {path: name for path, name in after.items() if before.get(path) != name}
    known = {
        name
        for name in set(found.values())
        if any(
            scratch.repository.git("config", "--get", f"filter.{os.fsdecode(name)}.{kind}", expect=(0, 1)).out
            for kind in ("clean", "process")
        )
    }
    return tuple(sorted(os.fsdecode(path) for path, name in found.items() if name in known))


def _attribute(
    scratch: Scratch, index: dict[str, str], name: str, paths: Collection[bytes]
) -> dict[bytes, bytes]:
    """Path to value, of those that have one, in the user's repository with the attributes of an index."""
    if not paths:
        return {}
    env = {**scratch.landing(Path(index["GIT_INDEX_FILE"]))}
    facts = scratch.repository.git(
        "check-attr", "--cached", "-z", "--stdin", name, stdin=nul(paths), env=env
    ).paths
    return {path: value for path, value in zip(facts[::3], facts[2::3], strict=True) if value not in _NONE}


def _stored(
    scratch: Scratch, index: dict[str, str], result: UnpackedResult, wanted: Collection[bytes]
) -> set[tuple[bytes, bytes | None]]:
    """(object id, filter) of what was sent as a filter had stored it: the agent has only moved it."""
    if not wanted:
        return set()
    listed = scratch.git("ls-tree", "-r", "-z", "--full-tree", result.sent_tree).paths
    sent = {}
    for line in listed:
        head, _, path = line.partition(b"\t")
        if (oid := head.split(b" ")[2]) in wanted:
            sent[path] = oid
    return {(sent[path], name) for path, name in _attribute(scratch, index, "filter", list(sent)).items()}


def _add(scratch: Scratch, files: Collection[Change], index: Path) -> list[Change]:
    """Those that `git add` stores otherwise than the agent's Git did, with the new object id."""
    work = scratch.folder / "clean"
    work.mkdir()
    raw = {"GIT_INDEX_FILE": str(scratch.folder / "raw-index"), "GIT_WORK_TREE": str(work)}
    scratch.git("update-index", "-z", "--index-info", stdin=b"".join(c.entry for c in files), env=raw)
    scratch.git("checkout-index", "--all", env=raw)
    env = {
        **user_environment(),
        **scratch.landing(index),
        "GIT_DIR": str(scratch.repository.git_dir),
        "GIT_WORK_TREE": str(work),
    }
    paths = nul([change.path for change in files])
    try:
        run("update-index", "--add", "--replace", "-z", "--stdin", cwd=work, env=env, stdin=paths)
    except RepositoryError as error:
        raise FilterFailed(str(error), [change.name for change in files]) from error
    oids = {}
    for line in run("ls-files", "-z", "--stage", cwd=work, env=env).paths:
        head, _, path = line.partition(b"\t")
        oids[path] = head.split(b" ")[1]
    return [replace(change, new=oids[change.path]) for change in files if oids[change.path] != change.new]
