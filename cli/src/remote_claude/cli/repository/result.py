"""What came back from a sandbox: looked at in a scratch repository, and not believed."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from remote_claude.cli.repository.git import RepositoryError
from remote_claude.cli.repository.scratch import Scratch

LINK, SYMLINK, ABSENT = b"160000", b"120000", b"000000"
_HEADER_LIMIT = 64 * 1024  # bytes
_OID = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs between two trees; mode `000000` is absence."""

    path: bytes
    old_mode: bytes
    new_mode: bytes
    old: bytes  # object id
    new: bytes

    @property
    def added(self) -> bool:
        return self.old_mode == ABSENT

    @property
    def deleted(self) -> bool:
        return self.new_mode == ABSENT

    @property
    def name(self) -> str:
        return os.fsdecode(self.path)

    @property
    def entry(self) -> bytes:
        """As `git update-index -z --index-info` reads it."""
        return b"%s %s\t%s\0" % ((b"0", b"0" * len(self.new), self.path) if self.deleted else self._new)

    @property
    def _new(self) -> tuple[bytes, bytes, bytes]:
        return self.new_mode, self.new, self.path


@dataclass(frozen=True, slots=True)
class UnpackedResult:
    base: str | None  # the commit of the user's that all is built on
    sent: str
    agent: str
    sent_tree: str
    agent_tree: str
    changes: tuple[Change, ...]  # of the agent, `sent` to `agent`


def read_result(scratch: Scratch, bundle: Path, task: str) -> UnpackedResult:
    """Unpacks and checks a result bundle: one branch `rclaude/<task>`, whose last commit is the agent's.

    Errors: `result_invalid`, `result_unsafe` (it names a path outside the working tree, or in `.git`),
    `result_foreign` (it is built on a commit that isn't here).
    """
    try:
        with bundle.open("rb", buffering=0) as file:
            base, agent = _header(scratch, file, f"refs/heads/rclaude/{task}")
            scratch.feed("index-pack", "--stdin", "--fix-thin", "--strict", source=file)
    except OSError as error:
        raise RepositoryError("result_invalid", f"the result can't be read: {error}") from error
    except RepositoryError as error:
        if error.code != "git_failed":
            raise
        raise RepositoryError(
            "result_invalid", f"the result is damaged, or made to do harm: {error}"
        ) from error
    agent_tree, parents = _commit(scratch, agent)
    if len(parents) != 1:
        raise RepositoryError("result_invalid", "the result isn't one commit on top of what was sent")
    sent_tree, grandparents = _commit(scratch, parents[0])
    if base not in (parents[0], *grandparents, None):
        raise RepositoryError("result_invalid", "the result isn't built on what was sent")
    changes = compare(scratch, sent_tree, agent_tree)
    _refuse_unsafe(changes)
    return UnpackedResult(base, parents[0], agent, sent_tree, agent_tree, changes)


def compare(scratch: Scratch, old: str, new: str) -> tuple[Change, ...]:
    """What differs between two trees, renames as an addition and a deletion."""
    if old == new:
        return ()
    out = scratch.git("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", old, new).paths
    changes = []
    for facts, path in zip(out[::2], out[1::2], strict=True):
        old_mode, new_mode, old_id, new_id, _ = facts.removeprefix(b":").split(b" ")
        changes.append(Change(path, old_mode, new_mode, old_id, new_id))
    return tuple(changes)


def _header(scratch: Scratch, file: BinaryIO, branch: str) -> tuple[str | None, str]:
    """(base, commit of the branch); leaves the file where its pack begins. `file` has no buffer."""
    head = b""
    while not head.endswith(b"\n\n"):
        piece = file.read(1)
        head += piece
        if not piece or len(head) > _HEADER_LIMIT:
            raise RepositoryError("result_invalid", "the result isn't a Git bundle")
    signature, *lines = head[:-2].split(b"\n")
    if signature not in (b"# v2 git bundle", b"# v3 git bundle"):
        raise RepositoryError("result_invalid", "the result isn't a Git bundle")
    lines = [line for line in lines if not line.startswith(b"@object-format=")]
    bases = [line[1:].split(b" ")[0] for line in lines if line.startswith(b"-")]
    refs = [line.split(b" ", 1) for line in lines if not line.startswith(b"-")]
    if len(refs) != 1 or refs[0][1:] != [branch.encode()] or len(bases) > 1:
        raise RepositoryError("result_invalid", f"the result doesn't hold the one branch {branch}")
    if not all(_OID.fullmatch(oid) for oid in (refs[0][0], *bases)):
        raise RepositoryError("result_invalid", "the result isn't a Git bundle")
    base = bases[0].decode() if bases else None
    if base and scratch.git("cat-file", "-e", f"{base}^{{commit}}", expect=(0, 1, 128)).code:
        raise RepositoryError(
            "result_foreign",
            f"the result is built on commit {base[:12]}, which isn't in this repository: "
            "go to the repository that the task was started from",
        )
    return base, refs[0][0].decode()


def _commit(scratch: Scratch, oid: str) -> tuple[str, list[str]]:
    """(tree, parents)"""
    answer = scratch.git("cat-file", "commit", oid, expect=(0, 128))
    if answer.code:
        raise RepositoryError("result_invalid", f"commit {oid[:12]} is missing from the result")
    head = answer.out.partition(b"\n\n")[0].split(b"\n")
    facts = [line.decode("ascii", "replace").split(" ", 1) for line in head[: head.index(_author(head))]]
    return facts[0][1], [value for key, value in facts[1:] if key == "parent"]


def _author(head: list[bytes]) -> bytes:
    return next(line for line in head if line.startswith(b"author "))


def _refuse_unsafe(changes: tuple[Change, ...]) -> None:
    unsafe = [change.name for change in changes if not _safe(change)]
    if unsafe:
        raise RepositoryError(
            "result_unsafe",
            "the result was not applied: it would write inside `.git`, outside the repository, or swap a submodule",
            unsafe,
        )


def _safe(change: Change) -> bool:
    parts = change.path.lower().split(b"/")
    if any(part in (b"", b".", b"..", b".git", b"git~1") for part in parts):
        return False
    if change.deleted:
        return True
    if parts[-1] == b".gitattributes" and change.new_mode == SYMLINK:
        return False
    return change.new_mode != LINK
